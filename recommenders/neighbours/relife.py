"""RELIFE: re-ranking by what the user clicked and did not click in whole past lists.

The best candidates of a base model, any `Scorer`, are put in a new order by a network that reads past lists with their
clicks and non-clicks, in three parts:

    disentangled interest    the candidate attends to clicked and to unclicked items apart
    sequential preference    it attends to all items in their order, each mixed with the feedback around it
    comparison               how clicked items differed from the others of their list, and how the candidate differs
                             from the other candidates

It is trained on the clicks of the log's lists by binary cross-entropy, with a loss that holds interest and disinterest
apart and a contrastive one that brings a user's past and present patterns of comparison together.

Source: Weng et al. 2024, arXiv 2410.20778, for the three parts, their purposes and the contrastive alignment. We know
of no published code, and the layers are ours throughout (see `relife_network`). Ours by need: a history here has times
but no slates, so a list is a run of interactions close in time, cut at a set length; positions in a slate are unknown,
and the base model's score takes their place; a training list is filled up with the base model's best items, unlabelled,
to look like the candidates of serving. A click is a long dwell or a like without a dislike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recommenders.base import (
    PADDING,
    TICKS_PER_SECOND,
    Bool,
    Config,
    Float32,
    Int32,
    Interactions,
    ItemFeatures,
    Progress,
    RecommenderError,
    RequestDraws,
    Requests,
    Scorer,
    Slates,
    State,
)
from recommenders.heuristics.ranking import put_behind, spread
from recommenders.heuristics.wrapped import (
    ModelConfig,
    build_scorer,
    nested,
    unnested,
    viewed_window,
    without_newest,
)
from recommenders.neighbours.logged_requests import logged_requests
from recommenders.neighbours.past_lists import list_numbers, lists_of_histories
from recommenders.neighbours.relife_network import Lists, ReRanker, contrast, disentanglement, looked_up
from recommenders.sequences import is_positive, runs
from recommenders.stored_state import require_shapes
from recommenders.topk import top_k
from recommenders.training import train

SERVING_BATCH = 256
NETWORK_PREFIX = "network."


class RelifeConfig(Config):
    """Settings of RELIFE."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The base model, whose best items are re-ranked."""
    candidates: Annotated[int, Field(ge=2)] = 30
    """How many of its best items are re-ranked; the others follow in its order."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read."""
    list_gap_seconds: Annotated[float, Field(gt=0)] = 300.0
    """A longer pause between two interactions begins a new list."""
    list_length: Annotated[int, Field(ge=2)] = 10
    """Interactions in a list, at most."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of all vectors."""
    disentangle_weight: Annotated[float, Field(ge=0)] = 0.1
    """Weight of the loss that holds interest and disinterest apart."""
    contrast_weight: Annotated[float, Field(ge=0)] = 0.05
    """Weight of the loss that aligns a user's past and present patterns of comparison."""
    training_lists: Annotated[int, Field(ge=1)] = 10_000
    """At most so many lists of the log are trained on, drawn at random."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Passes over the training lists."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.005
    """Of AdamW, at the start; it falls linearly to a tenth."""
    batch_size: Annotated[int, Field(ge=2)] = 64
    """Lists per training step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""


@dataclass(frozen=True)
class Labels:
    """What is known of the candidates of training lists.

    Attributes:
        shown: bool[n, c], where the candidate was in the logged list; elsewhere it fills up.
        click: bool[n, c], false where not shown.
    """

    shown: Tensor
    click: Tensor


class Relife:
    """Re-ranks a base model's best items by clicks and non-clicks in whole past lists."""

    config_class: ClassVar[type[Config]] = RelifeConfig
    known_failures: ClassVar[Mapping[str, str]] = {
        "check_item_numbers_are_only_names": "where the base model's scores tie, the lower numbers become candidates, "
        "and every candidate is compared with the mean of all"
    }
    """Laws of `recommenders.conformance` that it breaks, and why."""

    def __init__(self, config: RelifeConfig) -> None:
        self.config = config
        self.model: Scorer = build_scorer(config.model)
        self.viewed_window = viewed_window(self.model)
        self.traits = replace(
            self.model.traits,
            history_length=max(self.model.traits.history_length, config.window),
            batch_size=self.model.traits.batch_size or SERVING_BATCH,
            dislike_response=None,  # The model's own may not survive the second stage.
        )
        self._served: tuple[ReRanker, Tensor] | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Fit the base model, then the re-ranker on its candidates; `progress` counts anew for each."""
        config = self.config
        self.model.fit(log, items, seed=seed, progress=progress)
        generator = torch.Generator().manual_seed(seed)
        network = ReRanker(items, config.dim, generator)
        network.embedding.seen[torch.from_numpy(log.item.astype(np.int64))] = 1
        lists, labels = self._training_lists(log, items, np.random.default_rng(seed))
        train(
            network,
            lambda rows: self._loss(network, lists.take(rows), Labels(labels.shown[rows], labels.click[rows])),
            len(lists.item),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            generator=generator,
            progress=progress,
        )
        self._serve(network)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The re-ranked candidates, then the others in the base model's order; viewed items last, as by that model.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = without_newest(self.scores(requests), requests, self.viewed_window)
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """Logits of a click on the base model's best items, and below them the others in its order.

        Items that the base model keeps from being shown again are no candidates while others are left.

        Returns:
            float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        network, embedding = self._fitted()
        base = self.model.scores(requests.newest(self.model.traits.history_length))
        shown = without_newest(base, requests, self.viewed_window)
        count = min(self.config.candidates, int(requests.eligible.sum()))
        candidate = np.sort(top_k(shown, requests.eligible, count).item, axis=1)
        lists = self._lists(requests, candidate, standardised(base, requests.eligible))
        logit = np.empty(candidate.shape, np.float32)
        for start in range(0, len(requests), SERVING_BATCH):
            n = min(SERVING_BATCH, len(requests) - start)
            # Always as many rows: float32 products depend on the shape.
            rows = torch.arange(start, start + n)
            padded = lists.take(torch.cat([rows, rows[:1].expand(SERVING_BATCH - n)]))
            logit[start : start + n] = network(padded, embedding).logit.numpy()[:n]
        score = np.zeros_like(base)
        np.put_along_axis(score, candidate.astype(np.intp), logit, 1)
        others = np.ones(base.shape, np.bool_)
        np.put_along_axis(others, candidate.astype(np.intp), False, 1)
        return put_behind(score, others, base)

    def state_dict(self) -> State:
        """The base model's state after `model.`, the network's parameters after `network.`."""
        parameters = self._fitted()[0].state_dict()
        return nested(self.model.state_dict()) | {NETWORK_PREFIX + k: v.numpy().copy() for k, v in parameters.items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over both states.

        Raises:
            RecommenderError: names or shapes are not those of this configuration and catalogue.
        """
        own = {k.removeprefix(NETWORK_PREFIX): v for k, v in state.items() if k.startswith(NETWORK_PREFIX)}
        require_shapes(lambda: ReRanker(items, self.config.dim, torch.Generator().manual_seed(0)), own)
        network = ReRanker(items, self.config.dim, torch.Generator().manual_seed(0))
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in own.items()})
        self.model.load_state_dict(unnested(state), items)
        self._serve(network)

    def _loss(self, network: ReRanker, lists: Lists, labels: Labels) -> Tensor:
        config, embedding = self.config, network.embedding()
        read = network(lists, embedding)
        cross_entropy = functional.binary_cross_entropy_with_logits(
            read.logit, labels.click.float(), labels.shown.float(), reduction="sum"
        )
        loss = cross_entropy / labels.shown.sum()
        past = looked_up(embedding, lists.item)
        loss = loss + config.disentangle_weight * disentanglement(read, past, lists.click, lists.read & ~lists.click)
        candidate = looked_up(embedding, lists.candidate)
        present = network.pattern(candidate, labels.shown.long(), labels.click, labels.shown)
        return loss + config.contrast_weight * contrast(read.pattern, present)

    def _training_lists(self, log: Interactions, items: ItemFeatures, rng: np.random.Generator) -> tuple[Lists, Labels]:
        """Lists of the log with two items or more, filled up with the base model's best other items."""
        config = self.config
        order = np.argsort(log.user, kind="stable")
        number = list_numbers(log.user[order], log.tick[order], self._gap_ticks(), config.list_length)
        start, length = runs(number.astype(np.int32))
        several = np.flatnonzero(length > 1)
        several = np.sort(rng.permutation(several)[: config.training_lists])
        start, length = start[several], length[several]
        eligible = items.release_tick <= (log.tick[-1] if len(log) else 0)
        width = min(max(config.candidates, config.list_length), items.n_items)
        candidate = np.empty((len(start), width), np.int32)
        shown, click = np.zeros(candidate.shape, np.bool_), np.zeros(candidate.shape, np.bool_)
        requests = logged_requests(log, order[start], self.traits.history_length, eligible)
        base = np.empty(candidate.shape, np.float32)
        for first in range(0, len(start), SERVING_BATCH):
            chunk = slice(first, first + SERVING_BATCH)
            of_chunk = requests.take(chunk)
            score = self.model.scores(of_chunk.newest(self.model.traits.history_length))
            row = np.repeat(np.arange(len(of_chunk)), length[chunk])
            place = order[np.repeat(start[chunk], length[chunk]) + _ranks(length[chunk])]
            was_shown, was_clicked = np.zeros(score.shape, np.bool_), np.zeros(score.shape, np.bool_)
            was_shown[row, log.item[place]] = True
            was_clicked[row, log.item[place]] = is_positive(log.feedback[place], except_disliked=True)
            chosen = np.where(was_shown, np.float32(np.inf), np.where(eligible, score, np.float32(-np.inf)))
            best = np.sort(np.argpartition(-chosen, width - 1, axis=1)[:, :width], axis=1)
            candidate[chunk] = best
            shown[chunk] = np.take_along_axis(was_shown, best, 1)
            click[chunk] = np.take_along_axis(was_clicked, best, 1)
            base[chunk] = np.take_along_axis(standardised(score, eligible), best, 1)
        return self._read(requests, candidate, base), Labels(torch.from_numpy(shown), torch.from_numpy(click))

    def _lists(self, requests: Requests, candidate: Int32, score: Float32) -> Lists:
        """The lists of candidates, int32[n, c], given the standardised scores of all items, float32[n, n_items]."""
        return self._read(requests, candidate, np.take_along_axis(score, candidate.astype(np.intp), 1))

    def _read(self, requests: Requests, candidate: Int32, base: Float32) -> Lists:
        history = requests.newest(self.config.window)
        item, read = history.history_item, history.history_item != PADDING
        click = read & is_positive(history.history_feedback, except_disliked=True)
        number = lists_of_histories(item, history.history_tick, self._gap_ticks(), self.config.list_length)
        return Lists(
            item=torch.from_numpy(np.maximum(item, 0).astype(np.int64)),
            read=torch.from_numpy(read),
            click=torch.from_numpy(click),
            list_number=torch.from_numpy(number),
            candidate=torch.from_numpy(candidate.astype(np.int64)),
            base=torch.from_numpy(base),
        )

    def _gap_ticks(self) -> int:
        return round(self.config.list_gap_seconds * TICKS_PER_SECOND)

    def _serve(self, network: ReRanker) -> None:
        network.requires_grad_(False)
        self._served = network, network.embedding()

    def _fitted(self) -> tuple[ReRanker, Tensor]:
        if self._served is None:
            raise RecommenderError("relife: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._served


def standardised(score: Float32, eligible: Bool) -> Float32:
    """Scores less the mean and over the spread of those of eligible items: float32[n, n_items], row by row."""
    mean = np.ascontiguousarray(score[:, eligible], dtype=np.float64).mean(1)
    result: Float32 = ((score - mean[:, None]) / spread(score, eligible)[:, None]).astype(np.float32)
    return result


def _ranks(length: np.ndarray[tuple[int], np.dtype[np.intp]]) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """0, 1, ... within each of some runs, one after the other."""
    first = np.cumsum(length) - length
    ranks: np.ndarray[tuple[int], np.dtype[np.intp]] = np.arange(length.sum()) - np.repeat(first, length)
    return ranks
