"""Pushback: measure how a recommender responds when its users push back."""

__version__ = "0.1.0"
