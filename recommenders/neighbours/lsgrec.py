"""LSGRec: light convolutions on the signed graph of users and items, in a positive and a negative space.

Let A+ and A- say who liked and who disliked what, an entry divided by the square roots of the user's and the item's
number of edges of that sign, and let U, V be the vectors of users and items:

    positive space     U_l+1 = A+ V_l,  V_l+1 = A+' U_l
    negative space     the first layer reads the positive space's layer 0 through A-, the later ones go through A+:
                       what users of like taste dislike

An embedding is the mean of a space's layers, each space with a layer 0 of its own, and a score the inner product, s in
the positive and t in the negative space. Trained on every edge (u, i) beside items j that u has no edge with:

    positive space     liked -log sigmoid(s_ui - s_uj),  disliked -log sigmoid(2 s_ui - s_uj)
    negative space     disliked -log sigmoid(t_ui - t_uj),  liked -log sigmoid(2 t_ui - t_uj)
    rating             (linear map of the positive embeddings of u and i, less 1 for a like or -1 for a dislike)^2
    orthogonality      (positive . negative embedding)^2, of u and of i

The factors of 2 say that what a user has met at all tells something of them, if less than its sign does: the sign-aware
BPR of Seo et al. 2022, IEEE TNNLS (SiReN).

Source: Liu et al. 2024, arXiv 2403.08246. We had the abstract, secondary descriptions and the authors' public code:
from these are the propagation, the mean over layers, the four losses with their factors, how negatives are drawn. Ours:

- Users are read from their history, since requests come from users that the graph has never seen: layer 0 of all users
  is one vector instead of one each. Their further layers are sums over the items of their edges, so a user of the graph
  whose whole history is in the window is served with their embedding in the graph.
- An edge is trained on with what it adds itself taken off its user's embedding, else a user who is nothing but a
  history is fitted best by items that recognise themselves, which says nothing of other items.
- A high score in the negative space means dislike; in the authors' code it is mirrored, low for items with an edge.
- Ranking by s - g t, with g a setting; the authors rank by s, their filters by t being switched off.
- `disliked_goes`: "below" puts a disliked item under those without an edge, in the positive space, and a liked one in
  the negative space: -log sigmoid(s_uj - s_ui) and -log sigmoid(t_uj - t_ui) in place of the terms with a 2.
- Negatives are shared by the batch; likes and dislikes are not graded; weight decay stands for their L2 penalty.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from recommenders.base import (
    PADDING,
    Config,
    Float32,
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
from recommenders.contract import check_state_names
from recommenders.ease import latest_entries
from recommenders.topk import hide_viewed, top_k
from recommenders.training import train

SERVING_BATCH = 256
"""Rows of every serving product: float32 results depend on the shape, so the shape never changes."""


class LsgRecConfig(Config):
    """Settings of LSGRec."""

    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Dimension of the embeddings, in each space."""
    layers: Annotated[int, Field(ge=1, le=8)] = 2
    """How many times vectors are propagated; dislikes of users of like taste are reached by 3."""
    window: Annotated[int, Field(ge=1, le=1000)] = 50
    """How many past interactions are read at serving; training reads the whole log."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Passes over the edges of the graph."""
    batch_size: Annotated[int, Field(ge=1)] = 2048
    """Edges per training step, each of which propagates through the whole graph."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.01
    """Of AdamW, at the start; it falls linearly to a tenth."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """Of AdamW."""
    negatives: Annotated[int, Field(ge=1)] = 128
    """Items without an edge that a training step shares."""
    negative_popularity: Annotated[float, Field(ge=0, le=1)] = 0.75
    """Negatives are drawn in proportion to their edges to this power; the smaller, the higher popular items rank."""
    rating_weight: Annotated[float, Field(ge=0)] = 0.025
    """Of the rating loss beside 1 for the mean over the negatives; 0.025 is 1 beside the authors' sum over 40."""
    orthogonality_weight: Annotated[float, Field(ge=0)] = 0.025
    """Of the orthogonality loss, likewise."""
    disliked_goes: Literal["between", "below"] = "between"
    """Where an item of the other sign belongs: between those of the sign and those without an edge, or below both.

    Between is what is published. Its factor of 2 pulls a disliked item up twice as hard as a liked one while scores are
    near 0: it tells the signs apart only as scores grow. Where what users meet is no choice of theirs, take below.
    """
    negative_weight: Annotated[float, Field(ge=0)] = 0.0
    """Weight g of the negative space's score in the ranking; 0 ranks by the positive space alone.

    Of use with `disliked_goes` below: with between, t is high for all that is popular, and s - t finds nothing.
    """
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""


class LsgRec:
    """Signed graph convolution: positive and negative preferences in two spaces, users read from their history."""

    config_class: ClassVar[type[Config]] = LsgRecConfig

    def __init__(self, config: LsgRecConfig) -> None:
        self.config = config
        self.traits = Traits(history_length=config.window, batch_size=SERVING_BATCH, nested=True)
        self._tables: Tables | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train on the graph of the log; of several interactions of a user with an item the latest one counts."""
        config = self.config
        generator = torch.Generator().manual_seed(seed)
        graph = SignedGraph.of(log, items.n_items)
        network = Network(graph, config, generator)
        train(
            network,
            Objective(network, graph, config, generator),
            len(graph.user),
            epochs=config.epochs,
            batch_size=config.batch_size,
            learning_rate=config.learning_rate,
            weight_decay=config.weight_decay,
            generator=generator,
            progress=progress,
        )
        with torch.no_grad():
            self._tables = network.tables()

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        score = self.scores(requests)
        if self.config.filter_viewed:
            hide_viewed(score, requests.history_item[:, -self.config.window :])
        return top_k(score, requests.eligible, k)

    def scores(self, requests: Requests) -> Float32:
        """s - g t of all items for each history: float32[n, n_items].

        Raises:
            RecommenderError: not fitted.
        """
        tables = self._fitted()
        users = self.embed(requests)
        # One product for both spaces.
        user = np.concatenate([users.positive, -self.config.negative_weight * users.negative], axis=1)
        item = np.concatenate([tables.item_positive, tables.item_negative], axis=1)
        user, item = user.astype(np.float32), np.ascontiguousarray(item.T)
        score = np.empty((len(user), item.shape[1]), np.float32)
        for start in range(0, len(user), SERVING_BATCH):
            rows = user[start : start + SERVING_BATCH]
            padded = np.zeros((SERVING_BATCH, user.shape[1]), np.float32)
            padded[: len(rows)] = rows
            score[start : start + len(rows)] = torch.mm(torch.from_numpy(padded), torch.from_numpy(item))[: len(rows)]
        return score

    def embed(self, requests: Requests) -> Embedding:
        """The users' embeddings, from their histories alone: float32[n, dim] in each space.

        Raises:
            RecommenderError: not fitted.
        """
        tables = self._fitted()
        item = requests.history_item[:, -self.config.window :]
        feedback = requests.history_feedback[:, -self.config.window :]
        row, place = np.nonzero(item != PADDING)
        entries = latest_entries(row, item[row, place], feedback[row, place], dislike_value=-1.0)
        shape = (len(item), len(tables.item_positive))

        def mean_of(edges: npt.NDArray[np.bool_]) -> sparse.csr_array:
            """Rows of 1 / sqrt(edges), which SciPy multiplies one by one: no row sees its batch-mates."""
            degree = np.bincount(entries.row[edges], minlength=len(item))
            value = (1 / np.sqrt(degree[entries.row[edges]])).astype(np.float32)
            return sparse.coo_array((value, (entries.row[edges], entries.item[edges])), shape=shape).tocsr()

        liked, disliked = mean_of(entries.value > 0), mean_of(entries.value < 0)
        return Embedding(
            positive=tables.user[0] + liked @ tables.liked_positive,
            negative=tables.user[1] + liked @ tables.liked_negative + disliked @ tables.disliked_negative,
        )

    def state_dict(self) -> State:
        """The tables that users are read from and items are scored with; see `Tables`."""
        return {name: value.copy() for name, value in self._fitted()._asdict().items()}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over the tables.

        Raises:
            RecommenderError: a table is missing, or its shape is not that of this configuration and catalogue.
        """
        check_state_names(state, Tables._fields)
        tables = {}
        for name in Tables._fields:
            rows = 2 if name == "user" else items.n_items
            tables[name] = np.array(state[name], np.float32)
            if tables[name].shape != (rows, self.config.dim):
                raise RecommenderError(
                    f"state: {name}: got shape {tables[name].shape}, expected ({rows}, {self.config.dim})"
                )
        self._tables = Tables(**tables)

    def _fitted(self) -> Tables:
        if self._tables is None:
            raise RecommenderError("lsgrec: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._tables


class Embedding(NamedTuple):
    """Vectors in both spaces: float32[n, dim] each."""

    positive: Float32
    negative: Float32


class Tables(NamedTuple):
    """A fitted model: float32[n_items, dim] each, but for `user`.

    A user's embedding is the row of `user` plus sums of rows of their edges' items, each divided by the square root of
    the number of the user's edges of that sign.
    """

    user: Float32
    """float32[2, dim]: what all users share in the positive and in the negative space."""
    liked_positive: Float32
    """What a liked item adds in the positive space."""
    liked_negative: Float32
    """What a liked item adds in the negative space: the dislikes of its friends."""
    disliked_negative: Float32
    """What a disliked item adds in the negative space."""
    item_positive: Float32
    """Items in the positive space."""
    item_negative: Float32
    """Items in the negative space."""


class Adjacency(NamedTuple):
    """One sign's edges, entry 1 / sqrt(edges of the user x edges of the item), both ways for speed."""

    to_user: sparse.csr_array
    """float32[users, n_items]."""
    to_item: sparse.csr_array
    """float32[n_items, users]."""
    per_user: Float32
    """1 / sqrt(edges of the user): float32[users]; 0 for a user without edges."""
    per_item: Float32
    """The same of the items: float32[n_items]."""

    @staticmethod
    def of(user: npt.NDArray[np.intp], item: npt.NDArray[np.int32], n_users: int, n_items: int) -> Adjacency:
        """From the ends of the edges, none twice."""
        by_user, by_item = _inverse_root(user, n_users), _inverse_root(item, n_items)
        value = (by_user[user] * by_item[item]).astype(np.float32)
        to_user = sparse.coo_array((value, (user, item)), shape=(n_users, n_items)).tocsr()
        return Adjacency(to_user, sparse.csr_array(to_user.T), by_user.astype(np.float32), by_item.astype(np.float32))


class SignedGraph(NamedTuple):
    """The edges between users and items: intp[e], int32[e], and float32[e] of 1 for a like, -1 for a dislike."""

    user: npt.NDArray[np.intp]
    item: npt.NDArray[np.int32]
    sign: Float32
    liked: Adjacency
    disliked: Adjacency

    @staticmethod
    def of(log: Interactions, n_items: int) -> SignedGraph:
        """From a log; users are numbered anew, in the order of their ids."""
        _, user = np.unique(log.user, return_inverse=True)
        n_users = int(user.max(initial=-1)) + 1
        edges = latest_entries(user, log.item, log.feedback, dislike_value=-1.0)
        liked, disliked = (
            Adjacency.of(edges.row[of_sign], edges.item[of_sign], n_users, n_items)
            for of_sign in (edges.value > 0, edges.value < 0)
        )
        return SignedGraph(edges.row, edges.item, edges.value.astype(np.float32), liked, disliked)


class Layers(NamedTuple):
    """Vectors of users and of items after each propagation, layer 0 first."""

    user: list[Tensor]
    item: list[Tensor]


class Network(nn.Module):
    """Layer 0 of both spaces, the rating's linear map, and the propagation through the graph."""

    def __init__(self, graph: SignedGraph, config: LsgRecConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.graph = graph
        self.n_layers = config.layers
        n_users, n_items = graph.liked.to_user.shape
        self.n_users = n_users

        def normal(*shape: int) -> nn.Parameter:
            return nn.Parameter(0.1 * torch.randn(shape, generator=generator))

        self.user = normal(2, config.dim)
        self.item_positive = normal(n_items, config.dim)
        self.item_negative = normal(n_items, config.dim)
        self.rating = normal(2 * config.dim)
        self.rating_bias = nn.Parameter(torch.zeros(()))

    def forward(self) -> tuple[Layers, Layers]:
        """The layers of the positive and of the negative space: float32[users, dim] and float32[n_items, dim] each."""
        liked, disliked = self.graph.liked, self.graph.disliked
        users = self.user.unsqueeze(1).expand(2, self.n_users, -1)
        positive = Layers([users[0]], [self.item_positive])
        negative = Layers([users[1]], [self.item_negative])
        for layer in range(self.n_layers):
            step(positive, liked, of=positive)
            step(negative, disliked if layer == 0 else liked, of=positive if layer == 0 else negative)
        return positive, negative

    def contributions(self, positive: Layers, negative: Layers) -> tuple[Tensor, Tensor, Tensor]:
        """What an edge with an item adds to a user's embedding, but for the root of the number of the user's edges.

        Returns:
            Of a liked item in the positive space, in the negative space, and of a disliked item in the negative space:
            float32[n_items, dim] each.
        """
        share = 1 / (1 + self.n_layers)
        liked = torch.from_numpy(share * self.graph.liked.per_item).unsqueeze(1)
        disliked = torch.from_numpy(share * self.graph.disliked.per_item).unsqueeze(1)
        # A user's layer l + 1 sums the items' layer l; the first one of the negative space, that of the positive space.
        propagated = total([torch.zeros_like(self.item_negative), *negative.item[1:-1]])
        return liked * total(positive.item[:-1]), liked * propagated, disliked * positive.item[0]

    def tables(self) -> Tables:
        """What serving needs, without the graph."""
        positive, negative = self()
        liked_positive, liked_negative, disliked_negative = self.contributions(positive, negative)
        return Tables(
            user=(self.user / (1 + self.n_layers)).numpy(),
            liked_positive=liked_positive.numpy(),
            liked_negative=liked_negative.numpy(),
            disliked_negative=disliked_negative.numpy(),
            item_positive=torch.stack(positive.item).mean(0).numpy(),
            item_negative=torch.stack(negative.item).mean(0).numpy(),
        )


def step(space: Layers, edges: Adjacency, of: Layers) -> None:
    """Append a space's next layer, what the edges bring of the latest layer of a space."""
    user, item = of.user[len(space.user) - 1], of.item[len(space.item) - 1]
    space.user.append(propagate(edges.to_user, edges.to_item, item))
    space.item.append(propagate(edges.to_item, edges.to_user, user))


def total(layers: list[Tensor]) -> Tensor:
    """The sum of layers."""
    return torch.stack(layers).sum(0)


def propagate(matrix: sparse.csr_array, transposed: sparse.csr_array, x: Tensor) -> Tensor:
    """matrix x, differentiable in x."""
    product: Tensor = _Propagate.apply(matrix, transposed, x)  # type: ignore[no-untyped-call]
    return product


class _Propagate(torch.autograd.Function):
    """Product with a constant sparse matrix on the CPU: SciPy's is four times as fast as torch.sparse.mm."""

    @staticmethod
    def forward(ctx: Any, matrix: sparse.csr_array, transposed: sparse.csr_array, x: Tensor) -> Tensor:
        """matrix x."""
        ctx.transposed = transposed
        return torch.from_numpy(matrix @ x.contiguous().numpy())

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[None, None, Tensor]:
        """The gradient of x."""
        return None, None, torch.from_numpy(ctx.transposed @ gradient.contiguous().numpy())


class Objective:
    """Mean loss of some edges: sign-aware BPR in both spaces, rating and orthogonality."""

    def __init__(self, network: Network, graph: SignedGraph, config: LsgRecConfig, generator: torch.Generator) -> None:
        self.network = network
        self.config = config
        self.generator = generator
        self.user = torch.from_numpy(graph.user.astype(np.int64))
        self.item = torch.from_numpy(graph.item.astype(np.int64))
        self.sign = torch.from_numpy(graph.sign)
        # For each edge 1 / sqrt(edges of the user), if it is of the sign: float32[e, 1].
        self.liked = torch.from_numpy((graph.sign > 0) * graph.liked.per_user[graph.user]).unsqueeze(1)
        self.disliked = torch.from_numpy((graph.sign < 0) * graph.disliked.per_user[graph.user]).unsqueeze(1)
        self.n_items = graph.liked.to_user.shape[1]
        self.n_users = network.n_users
        degree = np.bincount(graph.item, minlength=self.n_items)
        # The users with an edge of each item lie together, from item_start[item] to item_start[item + 1].
        self.item_start = torch.from_numpy(np.concatenate([[0], np.cumsum(degree)]))
        self.user_by_item = self.user[torch.from_numpy(np.argsort(graph.item, kind="stable"))]
        self.popularity = torch.from_numpy(
            np.where(degree > 0, degree.astype(np.float64) ** config.negative_popularity, 0.0)
        )
        self.n_negatives = min(config.negatives, int((degree > 0).sum()))

    def __call__(self, batch: Tensor) -> Tensor:
        """The loss of the edges with these numbers, int64[b]: a scalar."""
        config = self.config
        user, item, sign = self.user[batch], self.item[batch], self.sign[batch]
        other = torch.multinomial(self.popularity, self.n_negatives, generator=self.generator)
        counts = ~self.has_edge(user, other)
        layers = self.network()
        spaces = []
        loss = torch.zeros(())
        for space, own, ours in zip(layers, self.own_edge(layers, batch), (sign > 0, sign < 0), strict=True):
            users, items = torch.stack(space.user).mean(0), torch.stack(space.item).mean(0)
            of_user, of_item = users.index_select(0, user) - own, items.index_select(0, item)
            spaces.append((of_user, of_item))
            score, other_score = (of_user * of_item).sum(1), of_user @ items.index_select(0, other).T
            loss = loss + sign_aware_bpr(score, other_score, counts, ours, below=config.disliked_goes == "below")
        (positive_user, positive_item), (negative_user, negative_item) = spaces
        rating = torch.cat([positive_user, positive_item], 1) @ self.network.rating + self.network.rating_bias
        orthogonality = (positive_user * negative_user).sum(1).square() + (positive_item * negative_item).sum(
            1
        ).square()
        return (
            loss
            + config.rating_weight * functional.mse_loss(rating, sign)
            + config.orthogonality_weight * orthogonality.mean()
        )

    def own_edge(self, layers: tuple[Layers, Layers], batch: Tensor) -> tuple[Tensor, Tensor]:
        """What each edge has added to its user's embedding in both spaces: float32[b, dim] each."""
        liked_positive, liked_negative, disliked_negative = self.network.contributions(*layers)
        item, liked, disliked = self.item[batch], self.liked[batch], self.disliked[batch]
        return (
            liked * liked_positive.index_select(0, item),
            liked * liked_negative.index_select(0, item) + disliked * disliked_negative.index_select(0, item),
        )

    def has_edge(self, user: Tensor, item: Tensor) -> Tensor:
        """Whether each user has an edge with each item: bool[n, m] from int64[n] and int64[m]."""
        start, length = self.item_start[item], self.item_start[item + 1] - self.item_start[item]
        column = torch.repeat_interleave(torch.arange(len(item)), length)
        first = torch.repeat_interleave(start - (length.cumsum(0) - length), length)
        user_with_edge = self.user_by_item[first + torch.arange(len(first))]
        asked, row = torch.unique(user, return_inverse=True)
        place = torch.full((self.n_users,), -1)
        place[asked] = torch.arange(len(asked))
        at = place[user_with_edge]
        found = torch.zeros(len(asked), len(item), dtype=torch.bool)
        found[at[at >= 0], column[at >= 0]] = True
        return found[row]


def sign_aware_bpr(score: Tensor, other_score: Tensor, counts: Tensor, ours: Tensor, *, below: bool) -> Tensor:
    """Pair loss of edges against items without one, which asks less of edges of the other sign, or the reverse.

    Args:
        score: float[n], of the edges.
        other_score: float[n, m], of the same users with the same m items.
        counts: bool[n, m], which of those the user has no edge with.
        ours: bool[n], whether the edge is of the space's own sign.
        below: edges of the other sign should score below items without an edge, not merely lose less against them.

    Returns:
        The mean over edges of the mean over their negatives, a scalar; 0 for an edge without negatives.
    """
    edge, other = score.unsqueeze(1), other_score
    margin = torch.where(ours.unsqueeze(1), edge - other, other - edge if below else 2 * edge - other)
    loss = -functional.logsigmoid(margin) * counts
    return (loss.sum(1) / counts.sum(1).clamp(min=1)).mean()


def _inverse_root(end: npt.NDArray[Any], n: int) -> npt.NDArray[np.float64]:
    """1 / sqrt(edges) of each node, 0 for a node without: float64[n]."""
    degree = np.bincount(end, minlength=n)
    return np.where(degree > 0, 1 / np.sqrt(np.maximum(degree, 1)), 0.0)
