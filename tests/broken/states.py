"""States that are not complete, not plain, or not the recommender's alone."""

from __future__ import annotations

import numpy as np

from recommenders.base import Float32, Interactions, ItemFeatures, Progress, RecommenderError, State, Traits
from tests.broken.counted import WINDOW, Counted


class ForgetsAnArray(Counted):
    """Learns a second array, which `state_dict` does not know of."""

    def __init__(self) -> None:
        super().__init__()
        self.bonus = np.float32(0)

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        super().fit(log, items, seed=seed, progress=progress)
        self.bonus = np.float32(len(log))

    def start(self) -> Float32:
        return super().start() + self.bonus

    def state_dict(self) -> State:
        super().start()
        return {"count": self.count.copy()}


class GivesItsOwnArray(Counted):
    """ "Copying is slow": whoever writes into a state that was given out writes into the model."""

    def state_dict(self) -> State:
        return {"count": self.start()}


class KeepsTheGivenArray(Counted):
    """ "Copying is slow": whoever writes into a state that was loaded writes into the model."""

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        super().load_state_dict(state, items)
        self.count = state["count"]


class Pickled(Counted):
    """ "An object array holds anything": which cannot be saved without pickling."""

    def state_dict(self) -> State:
        return {"count": super().state_dict()["count"], "notes": np.array([{"window": WINDOW}, None])}


class TakesAnyCatalogue(Counted):
    """Checks names but no shapes: the fault shows at some later request."""

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        if "count" not in state:
            raise RecommenderError("state: got no count")
        self.count, self.creator = np.array(state["count"], np.float32), items.creator.copy()


class TakesHalfAState(Counted):
    """ "Better a default than an error": a state without counts is a model without knowledge."""

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        super().load_state_dict({"count": state.get("count", np.zeros(items.n_items, np.float32))}, items)


class StateOfNothing(Counted):
    """Fails on None instead of saying that it was not fitted."""

    def state_dict(self) -> State:
        return {"count": self.count.copy()}


class WarmButForgetful(Counted):
    """Declares `warm_start`, and keeps outside its state what the next fit goes on from."""

    def __init__(self) -> None:
        super().__init__()
        self.traits = Traits(history_length=WINDOW, warm_start=True)
        self.so_far = np.float32(0)

    def counted(self, log: Interactions, items: ItemFeatures) -> Float32:
        self.so_far = self.so_far + super().counted(log, items)
        return self.so_far
