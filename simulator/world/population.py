"""Who the users are: latent interests, aversions and thresholds, as arrays with one row a user.

Every trait is a keyed draw of its own user, so the first n users are the same in a population of any size.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from scipy.special import expit, logit, ndtri

from recommenders.base import Float32, Float64, Int32, Int64
from simulator.draws import Draws, Purpose
from simulator.scenario import schema
from simulator.world.catalogue import Catalogue

_CHUNK = 20_000
"""Users made at a time, so that a million users need little more memory than their traits."""


@dataclass(frozen=True)
class Population:
    """The fixed traits of all users. Utilities are on one scale: a unit is about the noise of one impression.

    Attributes:
        taste: float32[n_users, n_topics], mean utility of a topic: interest less aversion.
        skip_threshold: float32[n_users], the user skips below this utility.
        dislike_threshold: float32[n_users], the user is displeased below this utility.
        expressiveness: float32[n_users], chance to press dislike when displeased.
        like_probability: float32[n_users], chance to press like when it would be meant.
        patience: float32[n_users], chance to look at the next slot.
        log_activity: float32[n_users], how much more often than the median the user comes, in logs.
    """

    taste: Float32
    skip_threshold: Float32
    dislike_threshold: Float32
    expressiveness: Float32
    like_probability: Float32
    patience: Float32
    log_activity: Float32

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.patience)

    def part(self, users: range) -> Population:
        """The traits of a range of users; views."""
        return Population(**{f.name: getattr(self, f.name)[users.start : users.stop] for f in fields(self)})


def build_population(
    population: schema.Population, behaviour: schema.Behaviour, catalogue: Catalogue, draws: Draws
) -> Population:
    """Draw all users of a scenario.

    Args:
        population: who the users are.
        behaviour: means of the traits that belong to responding (patience, likes).
        catalogue: its topics; users tend to be interested in the larger ones.
        draws: the world's keyed draws.
    """
    parts = [
        _chunk(np.arange(start, min(start + _CHUNK, population.users)), population, behaviour, catalogue, draws)
        for start in range(0, population.users, _CHUNK)
    ]
    names = Population.__dataclass_fields__
    return Population(**{name: np.concatenate([getattr(p, name) for p in parts]) for name in names})


def _chunk(
    user: Int64, settings: schema.Population, behaviour: schema.Behaviour, catalogue: Catalogue, draws: Draws
) -> Population:
    skip, gap, expressive, silent = draws.uniform(Purpose.USER_TRAITS, user, 0)
    like, patience, activity, _ = draws.uniform(Purpose.USER_TRAITS, user, 1)
    skip_threshold = settings.skip_threshold + settings.skip_threshold_sd * ndtri(skip)
    dislike_gap = settings.dislike_threshold_gap * np.exp(settings.dislike_threshold_gap_sigma * ndtri(gap))
    return Population(
        taste=_taste(user, settings, catalogue, draws),
        skip_threshold=skip_threshold.astype(np.float32),
        dislike_threshold=(skip_threshold - dislike_gap).astype(np.float32),
        expressiveness=_expressiveness(expressive, silent, settings.expressiveness),
        like_probability=_like_probability(like, behaviour.like_probability),
        patience=_patience(patience, behaviour),
        log_activity=(settings.activity_sigma * ndtri(activity)).astype(np.float32),
    )


def _taste(user: Int64, settings: schema.Population, catalogue: Catalogue, draws: Draws) -> Float32:
    n_topics = catalogue.features.n_topics
    topic = np.arange(n_topics)
    weight, active_draw, averse_draw, aversion_draw = draws.uniform(Purpose.USER_TOPICS, user[:, None], topic)
    chance = _topic_activity(settings.active_topics, catalogue.features.topic, n_topics)
    active = active_draw < chance
    active[np.arange(len(user)), (active_draw / np.maximum(chance, 1e-12)).argmin(axis=1)] = True
    interest = np.where(active, -np.log(weight), 0.0)
    interest *= settings.interest_scale / interest.max(axis=1, keepdims=True)
    averse = averse_draw < np.where(
        active, settings.active_topic_aversion_probability, settings.topic_aversion_probability
    )
    aversion = np.where(averse, -np.log(aversion_draw) * settings.topic_aversion, 0.0)
    return (interest - aversion).astype(np.float32)


def _topic_activity(active_topics: float, topic: Int32, n_topics: int) -> Float64:
    """Chance that a topic interests a user: larger topics interest more users, with the square root of their size."""
    size = np.sqrt(np.bincount(topic, minlength=n_topics))
    return np.asarray(np.minimum(1.0, active_topics * size / size.sum()), dtype=np.float64)


def _expressiveness(uniform: Float64, silent: Float64, settings: schema.Expressiveness) -> Float32:
    """Truncated Pareto by inverse CDF; silent users never press.

    Source: the dislike counts of KuaiRand's users follow Zeta(1.57); a Poisson count with a Pareto rate has that tail.
    """
    power = 1.0 - settings.exponent
    low, high = settings.min_probability**power, settings.max_probability**power
    pressing = (low + uniform * (high - low)) ** (1.0 / power)
    return np.where(silent < settings.silent_share, 0.0, pressing).astype(np.float32)


def _like_probability(uniform: Float64, mean: float) -> Float32:
    """Exponential over users, cut at 1: a few press like often, most seldom."""
    return np.minimum(1.0, -np.log(uniform) * mean).astype(np.float32)


def _patience(uniform: Float64, behaviour: schema.Behaviour) -> Float32:
    if behaviour.patience == 1.0:
        return np.ones(len(uniform), dtype=np.float32)
    z = behaviour.patience_logit_sd * ndtri(uniform)
    return np.asarray(expit(logit(behaviour.patience) + z), dtype=np.float32)
