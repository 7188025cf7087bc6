"""A sequence model as a recommender: fitting, serving, carrying states, saving.

What it is put together from stands in its own file: settings (`sequence_config`), windows of the log (`sequences`),
labels and their weights (`labels`), network parts (`network`), the objective (`objective`), the loop (`training`) and
serving (`serving`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor

from recommenders.base import (
    PADDING,
    Feedback,
    Float32,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
    UInt8,
)
from recommenders.network import MakeEncoder, Network, combination_of
from recommenders.objective import MakeObjective, Objective, WindowsObjective, training_data
from recommenders.sequence_config import SequenceConfig
from recommenders.sequences import Windows, compacted, training_windows, without
from recommenders.serving import SERVING_BATCH, Served
from recommenders.stored_state import require_shapes
from recommenders.training import train

MakeNetwork = Callable[[SequenceConfig, ItemFeatures, torch.Generator], Network]


class SequenceRecommender:
    """A sequence model as a recommender: trained by `training.train`, served in batches of a fixed shape.

    The answer to a request is a function of that request and the fitted state, whatever the size of the batch. With
    `dislike_input`, `drop_disliked` and the weight of disliked labels off, nothing in fitting or serving looks at
    dislikes; the same holds for dismissals and theirs.
    """

    def __init__(
        self,
        config: SequenceConfig,
        make_encoder: MakeEncoder,
        *,
        make_network: MakeNetwork | None = None,
        make_objective: MakeObjective | None = None,
    ) -> None:
        """A model that is not fitted yet.

        Args:
            config: its settings.
            make_encoder: of the plain network.
            make_network: a method with more parts than the plain network brings its own kind; `encoder` serves.
            make_objective: a method that trains on something else than weighted labels brings its own; called once for
                the training windows, and once an epoch for the held-out ones.
        """
        _check_device(config.device)
        self.config = config
        self.traits = Traits(
            history_length=config.window, batch_size=SERVING_BATCH, warm_start=config.warm_start, nested=True
        )
        self._make_encoder = make_encoder
        self._make_network = make_network or self._plain_network
        self._make_objective = make_objective or self._weighted_labels
        self._combination = combination_of(config.input_flags())
        self._served: Served | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train; items released after the last interaction of the log are never used as negatives.

        With `warm_start`, a fitted or loaded model goes on from its parameters; otherwise training starts from scratch.
        """
        config = self.config
        generator = torch.Generator().manual_seed(seed)
        network = self._make_network(config, items, generator)
        if config.warm_start and self._served is not None:
            self._load(network, self._served.network.state_dict())
        network.mark_seen(log.item)
        network.to(config.device)
        last_tick = log.tick[-1] if len(log) else 0
        released = torch.from_numpy(np.flatnonzero(items.release_tick <= last_tick))
        windows = training_windows(without(log, self._dropped()), config.window)
        if len(released) < 2:
            windows = windows.take(slice(0, 0))  # A softmax needs another item beside the label.
        held_out = np.zeros(len(windows), np.bool_)
        if config.patience and len(windows) > 1:
            order = torch.randperm(len(windows), generator=generator).numpy()
            held_out[order[: max(1, round(config.validation_share * len(windows)))]] = True
        objective = self._make_objective(network, windows.take(~held_out), released, generator)
        validation = windows.take(held_out)

        def held_out_loss() -> float:
            return self._make_objective(network, validation, released, _seeded(seed)).mean(config.batch_size)

        train(
            network,
            objective,
            len(objective),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            generator=generator,
            progress=progress,
            held_out_loss=held_out_loss,
            patience=config.patience if len(validation) else 0,
        )
        self._served = Served(network, config)

    @property
    def network(self) -> Network:
        """The fitted network, in evaluation mode and without gradients.

        Raises:
            RecommenderError: not fitted.
        """
        return self._fitted().network

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores. Of a history wider than `window` the newest part is read.

        Raises:
            RecommenderError: not fitted, the history is narrower than `window`, or fewer than `k` items are eligible.
        """
        return self._ranked(self._states(requests), requests, k)

    def scores(self, requests: Requests) -> Float32:
        """Scores of all items after each history, s . v_y + b_y: float32[n, n_items].

        Raises:
            RecommenderError: not fitted, or the history is narrower than `window`.
        """
        return self._fitted().scores(self._states(requests))

    def initial_states(self, n: int) -> Float32:
        """What is carried of `n` empty histories, a row a user, for `advance`: float32[n, width].

        Raises:
            RecommenderError: not fitted, or the encoder has no state to carry (attention reads all positions anew).
        """
        return self._fitted().initial(n)

    def advance(self, carried: Float32, item: Int32, feedback: UInt8) -> Float32:
        """What is carried after one more interaction each; equal, up to rounding, to reading the history anew.

        Carried states have seen the whole history, where `scores` reads the newest `window` interactions: the two
        agree for histories no longer than that.

        Args:
            carried: float32[n, width], from `initial_states` or `advance`; not modified.
            item: int32[n]; -1 leaves the row as it is.
            feedback: uint8[n].

        Returns:
            float32[n, width].

        Raises:
            RecommenderError: as `initial_states`.
        """
        dropped = (feedback & self._dropped()) != 0
        return self._fitted().advanced(carried, np.where(dropped, np.int32(PADDING), item), feedback)

    def scores_of_carried(self, carried: Float32) -> Float32:
        """Scores of all items for carried states: float32[n, n_items] from float32[n, width].

        Raises:
            RecommenderError: as `initial_states`.
        """
        served = self._fitted()
        return served.scores(served.read(carried))

    def recommend_carried(self, carried: Float32, requests: Requests, k: int) -> Slates:
        """`recommend` from carried states; of the requests' histories only the viewed items are looked at.

        Raises:
            RecommenderError: as `initial_states`, or fewer than `k` items are eligible.
        """
        return self._ranked(self._fitted().read(carried), requests, k)

    def state_dict(self) -> State:
        """Every parameter under its name in the network."""
        return {name: value.cpu().numpy().copy() for name, value in self._fitted().network.state_dict().items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the parameters.

        Raises:
            RecommenderError: names or shapes are not those of this configuration and catalogue.
        """
        require_shapes(lambda: self._make_network(self.config, items, _seeded(0)), state)
        network = self._make_network(self.config, items, _seeded(0))
        self._load(network, {name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        self._served = Served(network.to(self.config.device), self.config)

    @staticmethod
    def _load(network: Network, state: Mapping[str, Tensor]) -> None:
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise RecommenderError(f"state: does not fit this configuration and catalogue: {error}") from error

    def _plain_network(self, config: SequenceConfig, items: ItemFeatures, generator: torch.Generator) -> Network:
        return Network(config, items, self._make_encoder, generator)

    def _weighted_labels(
        self, network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
    ) -> WindowsObjective:
        data = training_data(windows, self.config, self._combination, candidate)
        return Objective(network, self.config, data, generator)

    def _dropped(self) -> Feedback:
        return Feedback.DISLIKE if self.config.drop_disliked else Feedback(0)

    def _states(self, requests: Requests) -> Float32:
        served, window = self._fitted(), self.config.window
        width = requests.history_item.shape[1]
        if width < window:
            raise RecommenderError(f"history_item: got width {width}, expected at least {window}")
        item, feedback = requests.history_item[:, -window:], requests.history_feedback[:, -window:]
        if self._dropped():
            item, feedback = compacted(item, feedback, self._dropped())
        return served.states(item, feedback)

    def _ranked(self, state: Float32, requests: Requests, k: int) -> Slates:
        viewed = requests.history_item[:, -self.config.window :] if self.config.filter_viewed else None
        return self._fitted().ranked(state, viewed, requests.eligible, k)

    def _fitted(self) -> Served:
        if self._served is None:
            raise RecommenderError("got no fitted state, expected `fit` or `load_state_dict` first")
        return self._served


def _check_device(device: str) -> None:
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise RecommenderError(f"device: got {device!r}, expected one that is there: this torch finds no GPU")


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
