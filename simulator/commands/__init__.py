"""What the commands of the shell do, apart from reading their options."""
