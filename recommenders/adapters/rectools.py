"""RecTools' SASRec and BERT4Rec as arms: trained by RecTools on what users liked, served by its own network.

They know one kind of feedback: a sequence holds the items dwelt on long or liked, and no model of RecTools has a place
for negative feedback. With `drop_disliked`, disliked items leave the sequence, which is all that such an arm can hear.

RecTools ranks for users of a data set; an arm is asked with histories. So the network is taken out of the trained model
and reads the positive items of a request's window as RecTools would read a user's sequence: padded on the left, that of
BERT4Rec ending with a mask in the place of the next item. Scores are products of its output with its item vectors.

Source: RecTools 0.19, https://github.com/MobileTeleSystems/RecTools; Kang & McAuley 2018, ICDM; Sun et al. 2019, CIKM.
"""

from __future__ import annotations

import importlib
import logging
import random
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from recommenders.adapters.ranking import by_popularity, check_shapes, ranked
from recommenders.base import (
    Config,
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
)
from recommenders.extras import RECTOOLS
from recommenders.sequences import is_positive, kept_alone
from recommenders.stored_state import stored_places

SERVING_BATCH = 256
"""Histories read at a time: float32 results depend on the shape, so the shape never changes."""

NETWORK_PREFIX = "network."
"""Before the names of the network's parameters in a state."""


class RectoolsConfig(Config):
    """Settings of RecTools' transformers."""

    window: Annotated[int, Field(ge=2, le=1000)] = 50
    """How many past interactions are read at serving, and the longest sequence of positive ones in training."""
    dim: Annotated[int, Field(ge=1, le=1024)] = 32
    """Size of the vectors, a multiple of `heads`."""
    blocks: Annotated[int, Field(ge=1, le=32)] = 2
    """Transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=32)] = 1
    """Attention heads."""
    dropout: Annotated[float, Field(ge=0, le=0.95)] = 0.2
    """Share of units that are zeroed in training."""
    loss: Literal["softmax", "BCE", "gBCE", "sampled_softmax"] = "softmax"
    """RecTools' name of the loss; the softmax is over all items, the others are over `negatives`."""
    negatives: Annotated[int, Field(ge=1)] = 128
    """Uniformly drawn items beside each label; not used by the softmax over all."""
    epochs: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Passes over the users."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.001
    """Of Adam."""
    batch_size: Annotated[int, Field(ge=1)] = 128
    """Users per step."""
    drop_disliked: bool = False
    """Whether a disliked item is no positive one even if dwelt on long; else dislikes are not looked at."""
    filter_viewed: bool = True
    """Whether items of the window are kept from being shown again."""

    @model_validator(mode="after")
    def _heads_share_the_vector(self) -> RectoolsConfig:
        if self.dim % self.heads:
            raise ValueError(f"dim: got {self.dim}, expected a multiple of heads = {self.heads}")
        return self


class RectoolsRecommender:
    """A transformer of RecTools as an arm. Items without a place in its training data come behind those with one."""

    def __init__(self, name: str, config: RectoolsConfig, family: _Family) -> None:
        RECTOOLS.require(name)
        self.config = config
        self.traits = Traits(history_length=config.window, batch_size=SERVING_BATCH)
        self._name = name
        self._family = family
        self._state: _Fitted | None = None

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train on the last `window` positive interactions of every user who has two."""
        positive = log.take(is_positive(log.feedback, except_disliked=self.config.drop_disliked))
        length = np.bincount(positive.user)
        known = np.empty(0, np.int32)
        with _own_randomness(seed):
            if (length > 1).any():
                model = self._trained(positive, progress)
                tokens = self._family.extra_tokens
                known = model.data_preparator.item_id_map.external_ids[tokens:].astype(np.int32)
                parameters = model.torch_model.state_dict()
            else:
                parameters = self._network(0).state_dict()
        self._state = self._serving(by_popularity(log, items.n_items), known, parameters)

    def recommend(self, requests: Requests, k: int, draws: RequestDraws) -> Slates:
        """The `k` eligible items with the highest scores, then popularity, then the lower id.

        Raises:
            RecommenderError: not fitted, or fewer than `k` items are eligible.
        """
        popular = self._fitted().popular
        viewed = requests.newest(self.config.window).history_item if self.config.filter_viewed else None
        return ranked(self.scores(requests), viewed, popular, requests, k)

    def scores(self, requests: Requests) -> Float32:
        """The network's scores: float32[n, n_items]; items that it does not know are 1 below the lowest of the others.

        A history without an item that the network knows gives 0 for all: RecTools answers no such user.

        Raises:
            RecommenderError: not fitted.
        """
        fitted = self._fitted()
        sequence = self._sequences(requests, fitted.known, len(fitted.popular))
        score = np.zeros((len(sequence), len(fitted.popular)), np.float32)
        for start in range(0, len(sequence), SERVING_BATCH):
            batch = sequence[start : start + SERVING_BATCH]
            padded = np.zeros((SERVING_BATCH, self.config.window), np.int64)
            padded[: len(batch)] = batch
            rows = start + np.flatnonzero((batch >= self._family.extra_tokens).any(1))
            if len(rows):
                found = self._scored(fitted.network, torch.from_numpy(padded))[rows - start]
                score[rows] = found.min(1, keepdims=True) - 1
                score[rows[:, None], fitted.known] = found
        return score

    def state_dict(self) -> State:
        """`popular`: int32[n_items], the ranking; `known`: int32[m], items in the network's order; its parameters."""
        fitted = self._fitted()
        parameters = {name: value.numpy().copy() for name, value in fitted.network.state_dict().items()}
        named = {f"{NETWORK_PREFIX}{name}": value for name, value in parameters.items()}
        return {"popular": fitted.popular.copy(), "known": fitted.known.copy(), **named}

    def load_state_dict(self, state: State, items: ItemFeatures) -> None:
        """Take over ranking, items and parameters.

        Raises:
            RecommenderError: names or shapes are not those of this configuration and catalogue.
        """
        check_shapes(state, {"popular": (items.n_items,)})
        popular, known = stored_places(state, "popular", items.n_items), stored_places(state, "known", items.n_items)
        parameters = {
            name.removeprefix(NETWORK_PREFIX): torch.from_numpy(np.array(value))
            for name, value in state.items()
            if name.startswith(NETWORK_PREFIX)
        }
        self._state = self._serving(popular, known, parameters)

    def _trained(self, positive: Interactions, progress: Progress | None) -> Any:
        """RecTools' model, trained: its data preparation cuts the sequences."""
        rectools, pandas = _library("rectools"), _library("pandas")
        columns = rectools.Columns
        frame = pandas.DataFrame(
            {
                columns.User: positive.user,
                columns.Item: positive.item,
                columns.Weight: 1.0,
                columns.Datetime: pandas.to_datetime(positive.tick, unit="ms"),
            }
        )
        c = self.config
        model = getattr(_library("rectools.models"), self._family.model)(
            n_blocks=c.blocks,
            n_heads=c.heads,
            n_factors=c.dim,
            dropout_rate=c.dropout,
            session_max_len=c.window,
            loss=c.loss,
            n_negatives=c.negatives,
            lr=c.learning_rate,
            batch_size=c.batch_size,
            epochs=c.epochs,
            get_trainer_func=lambda: _trainer(c.epochs, progress),
        )
        model.fit(_library("rectools.dataset").Dataset.construct(frame))
        return model

    def _network(self, n_known: int) -> nn.Module:
        """The network that RecTools puts together for these settings, with fresh parameters."""
        c, parts = self.config, "rectools.models.nn"
        n_rows = self._family.extra_tokens + n_known
        item_net, blocks = _library(f"{parts}.item_net"), _library(f"{parts}.transformers.net_blocks")
        make_layers = getattr(_library(f"{parts}.transformers.{self._family.layers_module}"), self._family.layers)
        network: nn.Module = _library(f"{parts}.transformers.torch_backbone").TransformerTorchBackbone(
            n_heads=c.heads,
            dropout_rate=c.dropout,
            item_model=item_net.SumOfEmbeddingsConstructor(
                n_rows, [item_net.IdEmbeddingsItemNet(c.dim, n_rows, c.dropout)]
            ),
            pos_encoding_layer=blocks.LearnableInversePositionalEncoding(True, c.window, c.dim),
            transformer_layers=make_layers(n_blocks=c.blocks, n_factors=c.dim, n_heads=c.heads, dropout_rate=c.dropout),
            similarity_module=_library(f"{parts}.transformers.similarity").DistanceSimilarityModule(),
            use_causal_attn=self._family.is_causal,
            use_key_padding_mask=not self._family.is_causal,
        )
        return network

    def _serving(self, popular: Int32, known: Int32, parameters: Mapping[str, Tensor]) -> _Fitted:
        with _own_randomness(0):  # fresh parameters, which are overwritten
            network = self._network(len(known))
        try:
            network.load_state_dict(parameters)
        except RuntimeError as error:
            raise RecommenderError(f"state: does not fit this configuration and catalogue: {error}") from error
        return _Fitted(popular, known, network.eval().requires_grad_(False))

    def _sequences(self, requests: Requests, known: Int32, n_items: int) -> npt.NDArray[np.int64]:
        """What the network reads, rows of its items, 0 where padded: int64[n, window]."""
        requests = requests.newest(self.config.window)
        item, feedback = requests.history_item, requests.history_feedback
        token = np.zeros(n_items + 1, np.int64)  # the last, for padding, which is -1, stays 0
        token[known] = np.arange(self._family.extra_tokens, self._family.extra_tokens + len(known))
        positive = is_positive(feedback, except_disliked=self.config.drop_disliked)
        kept, _ = kept_alone(item, feedback, positive & (token[item] > 0))
        sequence = token[kept]
        if not self._family.is_causal:
            sequence = np.hstack([sequence[:, 1:], np.full((len(sequence), 1), MASK)])
        return sequence

    def _scored(self, network: Any, sequence: Tensor) -> Float32:
        vectors = network.item_model.get_all_embeddings()
        state = network.encode_sessions({"x": sequence}, vectors)[:, -1]
        score: Float32 = (state @ vectors[self._family.extra_tokens :].T).numpy()
        return score

    def _fitted(self) -> _Fitted:
        if self._state is None:
            raise RecommenderError(f"{self._name}: got no fitted state, expected `fit` or `load_state_dict` first")
        return self._state


class RectoolsSasRec(RectoolsRecommender):
    """RecTools' SASRec on the items dwelt on long or liked; it knows no negative feedback."""

    config_class: ClassVar[type[Config]] = RectoolsConfig

    def __init__(self, config: RectoolsConfig) -> None:
        super().__init__("rectools_sasrec", config, SASREC)


class RectoolsBert4Rec(RectoolsRecommender):
    """RecTools' BERT4Rec on the items dwelt on long or liked; it knows no negative feedback."""

    config_class: ClassVar[type[Config]] = RectoolsConfig

    def __init__(self, config: RectoolsConfig) -> None:
        super().__init__("rectools_bert4rec", config, BERT4REC)


class _Family(NamedTuple):
    """What tells the two models apart: names in RecTools, and how many tokens come before the items."""

    model: str
    layers_module: str
    layers: str
    extra_tokens: int
    is_causal: bool


SASREC = _Family("SASRecModel", "sasrec", "SASRecTransformerLayers", extra_tokens=1, is_causal=True)
BERT4REC = _Family("BERT4RecModel", "net_blocks", "PreLNTransformerLayers", extra_tokens=2, is_causal=False)
MASK = 1
"""BERT4Rec's token in the place of an item to be told."""


class _Fitted(NamedTuple):
    popular: Int32
    known: Int32
    network: nn.Module


def _library(module: str) -> Any:
    return importlib.import_module(module)


def _trainer(epochs: int, progress: Progress | None) -> Any:
    """A quiet trainer on the CPU, which tells its steps."""
    lightning = _library("pytorch_lightning")

    def tell(trainer: Any, *_: Any) -> None:
        if progress is not None:
            progress(trainer.global_step, int(trainer.estimated_stepping_batches))

    return lightning.Trainer(
        max_epochs=epochs,
        min_epochs=epochs,
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[_library("pytorch_lightning.callbacks").LambdaCallback(on_train_batch_end=tell)],
    )


@contextmanager
def _own_randomness(seed: int) -> Iterator[None]:
    """While it lasts, the global generators start from the seed, and Lightning says nothing; then all is as before.

    RecTools and Lightning draw from the global generators of torch, NumPy and Python and take no other.
    """
    _library("pytorch_lightning")  # sets the level of its logger when it is first imported
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric")]
    levels = [logger.level for logger in loggers]
    numpy_state, python_state = np.random.get_state(), random.getstate()  # noqa: NPY002
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|rectools")
        # Of its settings, whose schema names types that they do not have.
        warnings.filterwarnings("ignore", "Pydantic serializer warnings", UserWarning)
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            torch.manual_seed(seed)
            np.random.seed(seed % 2**32)  # noqa: NPY002
            random.seed(seed)
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
            random.setstate(python_state)
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
