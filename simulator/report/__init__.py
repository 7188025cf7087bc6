"""What a person sees of a run: the HTML report, the JSON beside it and the terminal."""
