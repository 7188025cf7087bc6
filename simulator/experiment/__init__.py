"""Experiments on simulated worlds: paired A/B tests, counterfactuals, metrics and estimators."""
