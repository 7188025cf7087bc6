"""Heuristics on top of any recommender that scores: what a platform does about push-back without training for it.

Each wraps a `Scorer` that its setting `model` names, itself a wrapper if need be. Penalties are in units of the spread
of the wrapped scores within the request, so that a strength means much the same over any model.
"""
