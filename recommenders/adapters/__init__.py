"""Recommenders that run elsewhere, as arms."""
