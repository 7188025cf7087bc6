"""PMORS: a pre-ranker that agrees with the ranker, but remembers push-back, under weights found by a Pareto solver.

A platform ranks in cascade: a light pre-ranker picks candidates from the whole catalogue, the ranker orders them. Here
the ranker is any `Scorer`, fitted first and then fixed. The pre-ranker, two towers, is trained on two objectives:

    consistency   cross-entropy between the softmax of the ranker's scores over a list and that of its own
    forgetting    the remembered push-back of what it would show: sum over the list of p_i R_i, with p its softmax and
                  R_i = min(1, sum over the push-back that item i resembles of exp(-age / memory))

At every step the two gradients g_c and g_f are joined with weights a and 1 - a that make the joint gradient shortest:
unless a bound on the weights holds it back, it then points downhill for both, or nothing does.

Source: Jin et al. 2023, CIKM, arXiv 2312.16868, for the two objectives, the Ebbinghaus curve as the penalty and the
solver within a cascade. Not spelled out there as far as we could read, and so ours: the softmax form of both losses,
resemblance by creator and topic, the lists that are trained on, and the towers. The solver is the closed form of
Sener & Koltun 2018, NeurIPS (the least-norm point between two gradients), with lower bounds on the weights as in Lin
et al. 2019, RecSys. Their push-back is the quick slip; here it is a setting.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from recommenders.base import (
    PADDING,
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
from recommenders.heuristics.forgetting_curve import AgeUnit, remembered
from recommenders.heuristics.negatives import TICKS_PER_DAY, NegativeKind, is_negative, recent_negatives
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
from recommenders.network import ItemTable
from recommenders.sequences import is_positive
from recommenders.stored_state import require_shapes
from recommenders.topk import top_k
from recommenders.training import train

SERVING_BATCH = 256
NETWORK_PREFIX = "network."


class PmorsConfig(Config):
    """Settings of PMORS."""

    model: ModelConfig = Field(default_factory=ModelConfig)
    """The ranker."""
    candidates: Annotated[int, Field(ge=1)] = 50
    """How many items the pre-ranker hands to the ranker; the others follow in the pre-ranker's order."""
    feedback: Annotated[tuple[NegativeKind, ...], Field(min_length=1)] = ("dislike",)
    """What counts as push-back."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions the pre-ranker reads."""
    memory: Annotated[float, Field(gt=0)] = 20.0
    """Strength S of the memory: after S, exp(-1) of a push-back is remembered."""
    unit: AgeUnit = "interactions"
    """What age and `memory` are counted in: later interactions, or days of simulated time."""
    creator_share: Annotated[float, Field(ge=0, le=1)] = 1.0
    """How much an item resembles another of its creator; the rest is for the same topic.

    With a rest, the solver empties the slate of the whole topic: remembered push-back is an objective, not a price.
    """
    least_weight: Annotated[float, Field(ge=0, le=0.5)] = 0.1
    """Lower bound on the weight of either objective; at 0.5 nothing is left to solve."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of the towers."""
    training_requests: Annotated[int, Field(ge=1)] = 20_000
    """At most so many requests of the log are trained on, drawn at random."""
    list_size: Annotated[int, Field(ge=2)] = 64
    """Items in the list of a training request: half the ranker's best, the rest drawn, push-back's like preferred."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Passes over the training requests."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Of AdamW, at the start; it falls linearly to a tenth."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Requests per training step."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """Of AdamW."""


class PreRanker(nn.Module):
    """Two towers: the user's is a sum over the history, faded by age, of mapped item vectors.

    Each interaction counts as consumed, as positive and as push-back where it was that, each with a map and a learned
    rate of forgetting of its own.
    """

    def __init__(self, items: ItemFeatures, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        parts = ("id", "creator", "topic")
        self.embedding = ItemTable(items, parts, dim, 0.3, generator)
        self.bias = ItemTable(items, parts, 1, 0.0, generator)
        noise = torch.randn((3, dim, dim), generator=generator) * 0.1 * dim**-0.5
        self.map = nn.Parameter(noise + 0.1 * torch.tensor([0.0, 1.0, -1.0]).reshape(3, 1, 1) * torch.eye(dim))
        self.log_rate = nn.Parameter(torch.zeros(3))

    def mark_seen(self, item: Int32) -> None:
        """Let the items of a log have vectors of their own."""
        for table in (self.embedding, self.bias):
            table.seen[torch.from_numpy(item.astype(np.int64))] = 1

    def user(self, embedding: Tensor, history: History) -> Tensor:
        """float32[n, dim], from the item tower's float32[n_items, dim]; zeros for an empty history."""
        n, width = history.item.shape
        fading = torch.exp(-self.log_rate.exp() * history.age.unsqueeze(2)) * history.kind  # [n, width, 3]
        read = embedding.index_select(0, history.item.flatten()).reshape(n, width, -1)
        return (fading.transpose(1, 2) @ read).flatten(1) @ self.map.flatten(0, 1)


@dataclass(frozen=True)
class History:
    """What the pre-ranker reads of some requests.

    Attributes:
        item: int64[n, width], 0 where padded.
        kind: float32[n, width, 3], whether it was consumed, positive, and push-back; 0 where padded.
        age: float32[n, width], in units of `memory`.
    """

    item: Tensor
    kind: Tensor
    age: Tensor

    def take(self, rows: Tensor) -> History:
        """The chosen requests."""
        return History(self.item[rows], self.kind[rows], self.age[rows])


@dataclass(frozen=True)
class TrainingLists:
    """A list of items for each training request.

    Attributes:
        history: n requests'.
        item: int64[n, list_size].
        ranker: float32[n, list_size], the ranker's scores in spreads of all eligible items' scores.
        remembered: float32[n, list_size], in [0, 1].
    """

    history: History
    item: Tensor
    ranker: Tensor
    remembered: Tensor


class Pmors:
    """A pre-ranker trained to agree with a ranker and to avoid remembered push-back, and that ranker behind it."""

    config_class: ClassVar[type[Config]] = PmorsConfig

    def __init__(self, config: PmorsConfig) -> None:
        self.config = config
        self.model: Scorer = build_scorer(config.model)
        self.viewed_window = viewed_window(self.model)
        self.traits = replace(
            self.model.traits,
            history_length=max(self.model.traits.history_length, config.window),
            batch_size=self.model.traits.batch_size or SERVING_BATCH,
            dislike_response=None,  # The model's own may not survive the second stage.
        )
        self._served: _Served | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Fit the ranker, then the pre-ranker to it; `progress` counts anew for each."""
        config = self.config
        self.model.fit(log, items, seed=seed, progress=progress)
        generator = torch.Generator().manual_seed(seed)
        network = PreRanker(items, config.dim, generator)
        network.mark_seen(log.item)
        lists = self._training_lists(log, items, np.random.default_rng(seed))
        train(
            network,
            lambda rows: self._loss(network, lists, rows),
            len(lists.item),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            generator=generator,
            progress=progress,
        )
        self._served = _Served(network)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The ranker's order of the pre-ranker's candidates, then the others; viewed items last, as by the ranker.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = without_newest(self.scores(requests), requests, self.viewed_window)
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """The ranker's scores for its candidates, and below them the others in the pre-ranker's order.

        Items that the ranker keeps from being shown again are no candidates while others are left.

        Returns:
            float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        served = self._fitted()
        history = self._history(requests)
        pre_rank = np.empty((len(requests), served.n_items), np.float32)
        for start in range(0, len(requests), SERVING_BATCH):
            rows = torch.arange(start, min(start + SERVING_BATCH, len(requests)))
            pre_rank[start : start + SERVING_BATCH] = served.scores(history.take(rows))
        is_candidate = _best(pre_rank, requests, self.config.candidates, self.viewed_window)
        ranked = self.model.scores(requests.newest(self.model.traits.history_length))
        return put_behind(ranked, ~is_candidate, pre_rank)

    def state_dict(self) -> State:
        """The ranker's state after `model.`, the pre-ranker's parameters after `network.`."""
        parameters = self._fitted().network.state_dict()
        return nested(self.model.state_dict()) | {NETWORK_PREFIX + k: v.numpy().copy() for k, v in parameters.items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over both states.

        Raises:
            RecommenderError: names or shapes are not those of this configuration and catalogue.
        """
        own = {k.removeprefix(NETWORK_PREFIX): v for k, v in state.items() if k.startswith(NETWORK_PREFIX)}
        require_shapes(lambda: PreRanker(items, self.config.dim, torch.Generator().manual_seed(0)), own)
        network = PreRanker(items, self.config.dim, torch.Generator().manual_seed(0))
        network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in own.items()})
        self.model.load_state_dict(unnested(state), items)
        self._served = _Served(network)

    def _loss(self, network: PreRanker, lists: TrainingLists, rows: Tensor) -> Tensor:
        embedding, bias = network.embedding(), network.bias().squeeze(1)
        item = lists.item[rows]
        user = network.user(embedding, lists.history.take(rows))
        candidate = embedding.index_select(0, item.flatten()).reshape(*item.shape, -1)
        score = (candidate @ user.unsqueeze(2)).squeeze(2) + bias[item]
        consistency = -(torch.softmax(lists.ranker[rows], 1) * torch.log_softmax(score, 1)).sum(1).mean()
        forgetting = (lists.remembered[rows] * torch.softmax(score, 1)).sum(1).mean()
        parameters = list(network.parameters())
        to_agree = torch.autograd.grad(consistency, parameters, retain_graph=True)
        to_forget = torch.autograd.grad(forgetting, parameters, retain_graph=True)
        weight = pareto_weight(to_agree, to_forget, self.config.least_weight)
        return weight * consistency + (1 - weight) * forgetting

    def _training_lists(self, log: Interactions, items: ItemFeatures, rng: np.random.Generator) -> TrainingLists:
        config = self.config
        last_tick = log.tick[-1] if len(log) else 0
        eligible = items.release_tick <= last_tick
        count = min(config.training_requests, len(log))
        rows = np.sort(rng.permutation(len(log))[:count])
        requests = logged_requests(log, rows, self.traits.history_length, eligible)
        size = min(config.list_size, int(eligible.sum()))
        item = np.empty((count, size), np.int64)
        ranker, memory = np.empty((count, size), np.float32), np.empty((count, size), np.float32)
        for start in range(0, count, SERVING_BATCH):
            chunk = slice(start, start + SERVING_BATCH)
            of_chunk = requests.take(chunk)
            score = self.model.scores(of_chunk.newest(self.model.traits.history_length))
            kept = self._remembered(of_chunk, items)
            item[chunk] = _lists(score, kept, eligible, size, rng)
            in_spreads = (score / spread(score, eligible)[:, None]).astype(np.float32)
            ranker[chunk] = np.take_along_axis(in_spreads, item[chunk], 1)
            memory[chunk] = np.take_along_axis(kept, item[chunk], 1)
        tensors = (torch.from_numpy(array) for array in (item, ranker, memory))
        return TrainingLists(self._history(requests), *tensors)

    def _remembered(self, requests: Requests, items: ItemFeatures) -> Float32:
        config = self.config
        negatives = recent_negatives(requests, config.feedback, config.window, None)
        amount = remembered(negatives, items, len(requests), config.memory, config.unit, config.creator_share)
        return np.minimum(amount, np.float32(1))

    def _history(self, requests: Requests) -> History:
        config = self.config
        requests = requests.newest(config.window)
        feedback, real = requests.history_feedback, requests.history_item != PADDING
        positive = is_positive(feedback, except_disliked=False)
        kind = np.stack([real, real & positive, real & is_negative(feedback, config.feedback)], 2)
        if config.unit == "interactions":
            age = np.broadcast_to(np.arange(real.shape[1] - 1, -1, -1), real.shape)
        else:
            age = (requests.tick[:, None] - requests.history_tick) / TICKS_PER_DAY
        in_memories = np.where(real, age / config.memory, 0).astype(np.float32)
        return History(
            torch.from_numpy(np.maximum(requests.history_item, 0).astype(np.int64)),
            torch.from_numpy(kind.astype(np.float32)),
            torch.from_numpy(in_memories),
        )

    def _fitted(self) -> _Served:
        if self._served is None:
            raise RecommenderError("pmors: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._served


class _Served:
    """A fitted pre-ranker with its item tower computed once."""

    def __init__(self, network: PreRanker) -> None:
        self.network = network.requires_grad_(False)
        self.embedding = network.embedding()
        self.output = self.embedding.T.contiguous()
        self.bias = network.bias().squeeze(1)
        self.n_items = len(self.embedding)

    def scores(self, history: History) -> Float32:
        """float32[n, n_items] for at most `SERVING_BATCH` requests, always computed as so many."""
        n, width = history.item.shape
        padded = History(
            torch.zeros((SERVING_BATCH, width), dtype=torch.int64),
            torch.zeros((SERVING_BATCH, width, 3)),
            torch.zeros((SERVING_BATCH, width)),
        )
        for whole, part in zip(vars(padded).values(), vars(history).values(), strict=True):
            whole[:n] = part
        user = self.network.user(self.embedding, padded)
        score: Float32 = torch.addmm(self.bias, user, self.output).numpy()
        return score[:n]


def pareto_weight(first: Sequence[Tensor], second: Sequence[Tensor], least: float) -> float:
    """The weight a of the first of two gradients for which a g_1 + (1 - a) g_2 is shortest.

    Unbounded, the joint gradient d satisfies d . g_i >= |d|^2 for both: a step against it lowers both losses, unless
    no direction does and d is 0.

    Args:
        first, second: gradients of two losses by the same parameters.
        least: bound from below on a and on 1 - a, in [0, 0.5].

    Returns:
        In [least, 1 - least]; 1 - least where the second gradient vanishes, which then asks for nothing.

    Source: Sener & Koltun 2018, NeurIPS; the bounds Lin et al. 2019, RecSys.
    """
    difference = sum(float((g - h).square().sum()) for g, h in zip(first, second, strict=True))
    square = sum(float(h.square().sum()) for h in second)
    if difference == 0 or square == 0:
        return 0.5 if difference == 0 else 1 - least
    along = sum(float(((h - g) * h).sum()) for g, h in zip(first, second, strict=True))
    return min(max(along / difference, least), 1 - least)


def _best(score: Float32, requests: Requests, count: int, window: int) -> Bool:
    """Where each row's best `count` eligible items are, viewed ones last: bool[n, n_items]."""
    shown = without_newest(score, requests, window)
    best = top_k(shown, requests.eligible, min(count, int(requests.eligible.sum())))
    found = np.zeros(score.shape, np.bool_)
    np.put_along_axis(found, best.item.astype(np.intp), True, 1)
    return found


def _lists(score: Float32, kept: Float32, eligible: Bool, size: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each row the ranker's best items, and others drawn, sooner those that resemble push-back: int64[n, size]."""
    chance = rng.random(score.shape, dtype=np.float32) + kept
    chance[:, ~eligible] = -1
    if size > 1:
        best = top_k(score, eligible, size // 2)
        np.put_along_axis(chance, best.item.astype(np.intp), np.float32(3), 1)
    return np.sort(np.argpartition(-chance, size - 1, axis=1)[:, :size], axis=1)
