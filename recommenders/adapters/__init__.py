"""Recommenders of other libraries, and served ones, as arms."""
