"""Processes of this machine that work for the one that was started."""
