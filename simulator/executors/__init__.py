"""Where the cells of a simulation live when it is not in this process: worker processes of this machine, or Ray."""
