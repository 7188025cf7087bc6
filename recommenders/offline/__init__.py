"""Recommenders on a platform's own log: reading it, splitting it, ranking with what was learnt, measuring that."""
