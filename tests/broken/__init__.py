"""Recommenders that break the contract, each by one fault that an author may well make.

A class's docstring begins with what its author probably thought.
"""
