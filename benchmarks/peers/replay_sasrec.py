"""RePlay's SASRec as a side of `benchmarks/training.py`; needs the environment that `make_env.sh replay` makes.

Its current (not the deprecated) model, sampled cross-entropy with negatives that the batch shares and with a table for
masking accidental hits (`GroupedCESampled`, one group a batch), chosen from its source as the way that does the least
work; its other ways were not timed. Batches are tensors in memory, put through its own transforms, in place of its
Parquet reader. Dropout is on attention weights, too. Adam with a constant rate, no logQ correction.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import lightning  # type: ignore[import-not-found,unused-ignore]
import numpy as np
import torch
from replay.data import FeatureHint, FeatureSource, FeatureType  # type: ignore[import-not-found,unused-ignore]
from replay.data.nn import (  # type: ignore[import-not-found,unused-ignore]
    TensorFeatureInfo,
    TensorFeatureSource,
    TensorSchema,
)
from replay.nn.agg import SumAggregator  # type: ignore[import-not-found,unused-ignore]
from replay.nn.embedding import SequenceEmbedding  # type: ignore[import-not-found,unused-ignore]
from replay.nn.lightning import LightningModule  # type: ignore[import-not-found,unused-ignore]
from replay.nn.lightning.optimizer import OptimizerFactory  # type: ignore[import-not-found,unused-ignore]
from replay.nn.loss.grouped_ce import GroupedCESampled  # type: ignore[import-not-found,unused-ignore]
from replay.nn.mask import DefaultAttentionMask  # type: ignore[import-not-found,unused-ignore]
from replay.nn.sequential.sasrec import (  # type: ignore[import-not-found,unused-ignore]
    PositionAwareAggregator,
    SasRec,
    SasRecBody,
    SasRecTransformerLayer,
)
from replay.nn.transform import GroupedUniformNegativeSamplingTransform  # type: ignore[import-not-found,unused-ignore]
from replay.nn.transform.template import make_default_sasrec_transforms  # type: ignore[import-not-found,unused-ignore]
from torch import Tensor

from benchmarks.peers.job import Clock, Float32, Job, Log, Sequences, cut

ITEM = "item_id"


class EpochClock(lightning.Callback):  # type: ignore[misc,name-defined,unused-ignore]
    """Notes the time after each epoch."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.note()


class Batches:
    """Shuffled batches from memory, put through its transforms."""

    def __init__(self, item: Tensor, n_items: int, batch_size: int, transforms: list[Any]) -> None:
        self.item, self.n_items, self.batch_size = item, n_items, batch_size
        self.transform = torch.nn.Sequential(*transforms)

    def __len__(self) -> int:
        return (len(self.item) + self.batch_size - 1) // self.batch_size

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for rows in torch.split(torch.randperm(len(self.item)), self.batch_size):
            item = self.item[rows]
            yield self.transform({ITEM: item, f"{ITEM}_mask": item != self.n_items})


def main() -> None:
    """Train, measure, and score if the job wants scores."""
    job = Job.from_command_line()
    torch.set_num_threads(job.threads)
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="lightning")
    lightning.seed_everything(job.seed, verbose=False)
    log = Log.load(job.log)
    sequences = cut(log, job.window)
    schema = schema_of(log.n_items, job.dim)
    negatives = GroupedUniformNegativeSamplingTransform(log.n_items, job.negatives, job.batch_size)
    transforms = [*make_default_sasrec_transforms(schema)["train"], negatives]
    item = torch.from_numpy(padded(sequences, job.window + 1, log.n_items))
    model, timer = model_of(job, schema, log.n_items), EpochClock()
    trainer = lightning.Trainer(
        max_epochs=job.epochs,
        min_epochs=job.epochs,
        accelerator="cpu",
        devices=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        logger=False,
        callbacks=[timer],
    )
    module = LightningModule(model, OptimizerFactory(learning_rate=job.learning_rate))
    trainer.fit(module, train_dataloaders=Batches(item, log.n_items, job.batch_size, transforms))
    if job.scores is not None:
        np.save(job.scores, scores(model, item[torch.from_numpy(sequences.newest)], log.n_items))
    timer.clock.timing(f"replay-rec {version('replay-rec')}, torch {torch.__version__}", len(item)).tell()


def schema_of(n_items: int, dim: int) -> Any:
    """One categorical feature, the item; the padding is the id after the last."""
    source = TensorFeatureSource(FeatureSource.INTERACTIONS, ITEM)
    feature = TensorFeatureInfo(
        ITEM,
        is_seq=True,
        feature_type=FeatureType.CATEGORICAL,
        feature_hint=FeatureHint.ITEM_ID,
        feature_sources=[source],
        cardinality=n_items,
        padding_value=n_items,
        embedding_dim=dim,
    )
    return TensorSchema([feature])


def model_of(job: Job, schema: Any, n_items: int) -> Any:
    """What its `SasRec.from_params` builds, with another loss."""
    body = SasRecBody(
        embedder=SequenceEmbedding(schema=schema),
        embedding_aggregator=PositionAwareAggregator(
            SumAggregator(embedding_dim=job.dim), max_sequence_length=job.window, dropout=job.dropout
        ),
        attn_mask_builder=DefaultAttentionMask(ITEM, num_heads=job.heads),
        encoder=SasRecTransformerLayer(
            embedding_dim=job.dim,
            num_heads=job.heads,
            num_blocks=job.blocks,
            dropout=job.dropout,
            activation="relu",
        ),
        output_normalization=torch.nn.LayerNorm(job.dim),
    )
    return SasRec(body, GroupedCESampled(job.batch_size, cardinality=n_items))


def padded(sequences: Sequences, width: int, padding: int) -> np.ndarray:
    """Padded on the left: int64[n, width]."""
    length = np.bincount(sequences.sequence)
    stop = np.cumsum(length)
    back = stop[sequences.sequence] - np.arange(len(sequences.item))
    item = np.full((len(length), width), padding, np.int64)
    item[sequences.sequence, width - back] = sequences.item
    return item


def scores(model: Any, item: Tensor, n_items: int) -> Float32:
    """Scores of all items after each sequence: float32[n, n_items] from int64[n, window + 1]."""
    model.eval()
    found = []
    with torch.no_grad():
        for rows in torch.split(item[:, 1:], 256):
            answer = model(feature_tensors={ITEM: rows}, padding_mask=rows != n_items)
            found.append(answer["logits"][:, :n_items].numpy())
    score: Float32 = np.concatenate(found)
    return score


if __name__ == "__main__":
    main()
