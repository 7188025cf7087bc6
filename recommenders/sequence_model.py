"""What the sequence models share: settings, item embeddings, feedback maps, the objective, and serving.

A model is an item table, a linear map for each kind of feedback, and an encoder. The encoder reads a history of vectors
x = E W_0 + sum of E W_f over the kinds of feedback f that the user gave the item, and returns a state s; the score of
an item y is s . v_y + b_y. Embeddings are tied: the E that is read is the v that is scored.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable
from typing import Annotated

import numpy as np
import torch
from pydantic import Field, field_validator
from torch import Tensor, nn
from torch.nn import functional

from recommenders.base import (
    PADDING,
    Config,
    Feedback,
    Float32,
    Int32,
    Int64,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Slates,
    State,
    Traits,
)
from recommenders.losses import cross_entropy, not_to_recommend, sample_uniform, sampled_logits
from recommenders.sequences import Windows, training_windows
from recommenders.topk import hide_viewed, top_k
from recommenders.training import train

SERVING_BATCH = 256
"""Rows of every serving product: float32 results depend on the shape, so the shape never changes."""


class SequenceConfig(Config):
    """Settings that all sequence models share."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of embeddings and states."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions the model reads."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Passes over the log."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.003
    """Of AdamW, at the start; it falls linearly to a tenth."""
    batch_size: Annotated[int, Field(ge=1)] = 64
    """Windows per training step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    negatives: Annotated[int, Field(ge=0)] = 128
    """Uniform negatives that a training step shares, at least 2; 0 for the full softmax over released items."""
    logq_correction: bool = False
    """Weight sampled negatives so that the loss estimates the full softmax; a dislike label then has little effect."""
    dwell_input: bool = True
    """Whether the model sees which items of the history were dwelt on long or skipped."""
    like_input: bool = True
    """Whether the model sees which items of the history were liked."""
    dislike_input: bool = False
    """Whether the model sees which items of the history were disliked."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""
    not_to_recommend_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the not-to-recommend loss on disliked items, beside 1 for a positive label; 0 switches it off.

    The gradient is in proportion to the disliked item's probability among label and negatives, about 1 / (1 +
    negatives) at first, so weights of 16 to 256 go with 128 negatives. Disliked items then are no positive labels.
    """

    @field_validator("negatives")
    @classmethod
    def _enough_negatives(cls, negatives: int) -> int:
        if negatives == 1:
            raise ValueError("expected 0 or at least 2: a lone negative may be the label itself")
        return negatives

    def input_flags(self) -> tuple[Feedback, ...]:
        """The kinds of feedback that the model reads, in the order of its maps."""
        flags: tuple[Feedback, ...] = ()
        if self.dwell_input:
            flags += (Feedback.LONG_DWELL, Feedback.SKIP)
        if self.like_input:
            flags += (Feedback.LIKE,)
        if self.dislike_input:
            flags += (Feedback.DISLIKE,)
        return flags


class Encoder(nn.Module):
    """Turns a history of vectors into states; it looks only backwards."""

    @abstractmethod
    def states(self, x: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from float[n, window, dim], padded on the right."""
        ...

    @abstractmethod
    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position.

        Args:
            x: float[n, window, dim], padded on the left with zeros.
            length: int64[n], real positions of each row.

        Returns:
            float[n, dim]; zeros for an empty history.
        """
        ...


MakeEncoder = Callable[[SequenceConfig, torch.Generator], Encoder]


class ItemTable(nn.Module):
    """A vector for each item: the sum of its own, its creator's and its topic's.

    An item that the log has never shown contributes no vector of its own: a new item starts as its creator's and its
    topic's.
    """

    creator: Tensor
    topic: Tensor
    seen: Tensor

    def __init__(self, items: ItemFeatures, width: int, scale: float, generator: torch.Generator) -> None:
        super().__init__()
        self.own_vector = nn.Parameter(torch.zeros(items.n_items, width))
        self.creator_vector = _normal((items.n_creators, width), scale, generator)
        self.topic_vector = _normal((items.n_topics, width), scale, generator)
        self.register_buffer("creator", torch.from_numpy(items.creator.astype(np.int64)), persistent=False)
        self.register_buffer("topic", torch.from_numpy(items.topic.astype(np.int64)), persistent=False)
        self.register_buffer("seen", torch.zeros(items.n_items, 1))

    def forward(self) -> Tensor:
        """float32[n_items, width]."""
        own = self.own_vector * self.seen
        # index_select, whose gradient is one index_add; indexing by [] would sort.
        return own + self.creator_vector.index_select(0, self.creator) + self.topic_vector.index_select(0, self.topic)


class Network(nn.Module):
    """Item table, output bias, feedback maps and encoder."""

    present: Tensor

    def __init__(
        self, config: SequenceConfig, items: ItemFeatures, make_encoder: MakeEncoder, generator: torch.Generator
    ) -> None:
        super().__init__()
        n_flags = len(config.input_flags())
        self.embedding = ItemTable(items, config.dim, 0.3, generator)
        self.bias = ItemTable(items, 1, 0.0, generator)
        self.feedback_map = _normal((1 + n_flags, config.dim, config.dim), 0.1 * config.dim**-0.5, generator)
        # present[c, f]: whether map f applies to an item with the combination c of flags; map 0 always does.
        combinations = torch.tensor([(1, *bits) for bits in itertools.product((0, 1), repeat=n_flags)])
        self.register_buffer("present", combinations.float(), persistent=False)
        self.encoder = make_encoder(config, generator)

    def inputs(self, embedding: Tensor, combination: Tensor) -> Tensor:
        """What the encoder reads at some positions: x = E W_0 + sum of E W_f over the flags f that are present.

        Args:
            embedding: float32[n, dim], of the items at the positions.
            combination: int64[n], which combination of flags each item got.

        Returns:
            float32[n, dim].
        """
        flagged = self.present[combination].unsqueeze(2) * embedding.unsqueeze(1)  # [n, 1 + f, dim]
        return flagged.flatten(1) @ self.feedback_map.flatten(0, 1)

    def input_table(self, embedding: Tensor) -> Tensor:
        """`inputs` of every item under every combination of flags.

        Args:
            embedding: float32[n_items, dim].

        Returns:
            float32[n_items * c, dim]; row `item * c + combination`, and c = `len(present)`.
        """
        n_items, n_combinations = len(embedding), len(self.present)
        combination = torch.arange(n_combinations).repeat(n_items)
        return self.inputs(embedding.repeat_interleave(n_combinations, 0), combination)


class SequenceRecommender:
    """A sequence model as a recommender: trained by `training.train`, served in batches of a fixed shape.

    The answer to a request is a function of that request and the fitted state, whatever the size of the batch. Without
    `dislike_input` and `not_to_recommend_weight`, nothing in fitting or serving looks at dislikes. Dismissals are
    never looked at.
    """

    def __init__(self, config: SequenceConfig, make_encoder: MakeEncoder) -> None:
        self.config = config
        self.traits = Traits(history_length=config.window, batch_size=SERVING_BATCH)
        self._make_encoder = make_encoder
        self._combination = _combination_of(config.input_flags())
        self._served: _Served | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train from scratch; items released after the last interaction of the log are never used as negatives."""
        config = self.config
        generator = torch.Generator().manual_seed(seed)
        network = Network(config, items, self._make_encoder, generator)
        seen = torch.from_numpy(np.bincount(log.item, minlength=items.n_items) > 0).float().unsqueeze(1)
        network.embedding.seen.copy_(seen)
        network.bias.seen.copy_(seen)
        windows = training_windows(log, config.window, label_dislikes=config.not_to_recommend_weight > 0)
        last_tick = log.tick[-1] if len(log) else 0
        released = torch.from_numpy(np.flatnonzero(items.release_tick <= last_tick))
        objective = _Objective(network, config, windows, self._combination, released, generator)
        train(
            network,
            objective,
            len(windows),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            generator=generator,
            progress=progress,
        )
        self._served = _Served(network)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores. Of a history wider than `window` the newest part is read.

        Raises:
            RecommenderError: not fitted, the history is narrower than `window`, or fewer than `k` items are eligible.
        """
        score = self.scores(requests)
        if self.config.filter_viewed:
            hide_viewed(score, requests.history_item[:, -self.config.window :])
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """Scores of all items after each history, s . v_y + b_y: float32[n, n_items].

        Raises:
            RecommenderError: not fitted, or the history is narrower than `window`.
        """
        served, window = self._fitted(), self.config.window
        history_item, history_feedback = requests.history_item, requests.history_feedback
        if history_item.shape[1] < window:
            raise RecommenderError(f"history_item: got width {history_item.shape[1]}, expected at least {window}")
        item = history_item[:, -window:]
        rows = self._rows(item, history_feedback[:, -window:])
        length = torch.from_numpy((item != PADDING).sum(1))
        score = np.empty((len(item), served.n_items), np.float32)
        for start in range(0, len(item), SERVING_BATCH):
            stop = min(start + SERVING_BATCH, len(item))
            score[start:stop] = served.scores(rows[start:stop], length[start:stop])
        return score

    def state_dict(self) -> State:
        """Every parameter under its name in the network."""
        return {name: value.numpy() for name, value in self._fitted().network.state_dict().items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the parameters.

        Raises:
            RecommenderError: names or shapes are not those of this configuration and catalogue.
        """
        network = Network(self.config, items, self._make_encoder, torch.Generator().manual_seed(0))
        try:
            network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in state.items()})
        except RuntimeError as error:
            raise RecommenderError(f"state: does not fit this configuration and catalogue: {error}") from error
        self._served = _Served(network)

    def _rows(self, item: Int32, feedback: np.ndarray) -> Tensor:
        """Rows of the input table: int64[n, window]; -1 where padded."""
        n_combinations = 1 << len(self.config.input_flags())
        row = item.astype(np.int64) * n_combinations + self._combination[feedback]
        return torch.from_numpy(np.where(item == PADDING, PADDING, row))

    def _fitted(self) -> _Served:
        if self._served is None:
            raise RecommenderError("got no fitted state, expected `fit` or `load_state_dict` first")
        return self._served


class _Objective:
    """Mean loss per positive label of some windows: cross-entropy, plus weighted not-to-recommend."""

    def __init__(
        self,
        network: Network,
        config: SequenceConfig,
        windows: Windows,
        combination_of: Int64,
        candidate: Tensor,
        generator: torch.Generator,
    ) -> None:
        self.network = network
        self.config = config
        # Padding follows the real positions, which never look at it, so any item will do there.
        self.item = torch.from_numpy(np.maximum(windows.item, 0).astype(np.int64))
        self.combination = torch.from_numpy(combination_of[windows.feedback])
        self.positive = torch.from_numpy(windows.positive.astype(np.int64))
        self.negative = torch.from_numpy(windows.negative.astype(np.int64))
        self.candidate = candidate
        self.generator = generator

    def __call__(self, batch: Tensor) -> Tensor:
        network, weight = self.network, self.config.not_to_recommend_weight
        embedding, bias = network.embedding(), network.bias().squeeze(1)
        item = self.item[batch]
        x = network.inputs(embedding.index_select(0, item.flatten()), self.combination[batch].flatten())
        state = network.encoder.states(x.reshape(*item.shape, -1)).flatten(0, 1)
        # The full softmax is the one over all released items as negatives, the label itself masked.
        negative = sample_uniform(self.candidate, self.config.negatives or len(self.candidate), self.generator)
        population = len(self.candidate) if self.config.logq_correction else None

        def logits(label: Tensor) -> tuple[Tensor, Tensor]:
            at = (label >= 0).nonzero().squeeze(1)
            sampled = sampled_logits(state.index_select(0, at), embedding, bias, label[at], negative, population)
            return sampled, torch.zeros_like(at)

        positive_logit, column = logits(self.positive[batch].flatten())
        loss = cross_entropy(positive_logit, column).sum()
        if weight > 0:
            loss = loss + weight * not_to_recommend(*logits(self.negative[batch].flatten())).sum()
        return loss / max(len(positive_logit), 1)


class _Served:
    """A fitted network with the tables that serving reads, computed once."""

    def __init__(self, network: Network) -> None:
        self.network = network.requires_grad_(False)
        embedding = network.embedding()
        self.n_items = len(embedding)
        table = network.input_table(embedding)
        self.input = torch.cat([table, torch.zeros(1, table.shape[1])])
        self.output = embedding.T.contiguous()
        self.bias = network.bias().squeeze(1)

    def scores(self, rows: Tensor, length: Tensor) -> Float32:
        """float32[n, n_items] for at most `SERVING_BATCH` rows, int64[n, window]."""
        n, window = rows.shape
        padded = torch.full((SERVING_BATCH, window), len(self.input) - 1)
        padded[:n] = torch.where(rows >= 0, rows, len(self.input) - 1)
        lengths = torch.zeros(SERVING_BATCH, dtype=torch.int64)
        lengths[:n] = length
        x = functional.embedding(padded, self.input)
        state = self.network.encoder.final_state(x, lengths)
        return torch.addmm(self.bias, state, self.output).numpy()[:n]


def _combination_of(flags: tuple[Feedback, ...]) -> Int64:
    """Which combination of flags each feedback byte is, reading the first flag as the highest bit: int64[256]."""
    feedback = np.arange(256)
    combination = np.zeros(256, np.int64)
    for flag in flags:
        combination = 2 * combination + ((feedback & flag) != 0)
    return combination


def _normal(shape: tuple[int, ...], scale: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * scale)
