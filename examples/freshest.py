"""A recommender of your own: the newest items of creators that the user has not pushed back on lately.

pushback run quickstart --set arms[0].recommender=examples.freshest:Freshest
"""

import numpy as np

from recommenders.base import Config, Feedback, RecommenderError, Traits
from recommenders.topk import top_k


class FreshestConfig(Config):
    forgive_after: int = 20  # interactions after which a dislike is forgotten


class Freshest:
    config_class = FreshestConfig

    def __init__(self, config):
        self.traits, self.items = Traits(history_length=config.forgive_after), None

    def fit(self, log, items, *, seed, progress=None):
        self.load_state_dict({}, items)

    def recommend(self, requests, k, draws):
        if self.items is None:
            raise RecommenderError("Freshest serves before it was fitted")
        requests = requests.newest(self.traits.history_length)
        row, column = np.nonzero(requests.history_feedback & Feedback.DISLIKE)
        blocked = np.zeros((len(requests), self.items.n_creators), dtype=bool)
        blocked[row, self.items.creator[requests.history_item[row, column]]] = True
        score = (self.items.release_tick - requests.tick[:, None]) / 86_400_000 - 1e6 * blocked[:, self.items.creator]
        return top_k(score.astype(np.float32), requests.eligible, k)

    def state_dict(self):
        return {}

    def load_state_dict(self, state, items):
        self.items = items
