"""Parts of my own for Pushback."""
