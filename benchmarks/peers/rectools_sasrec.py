"""RecTools' SASRec as a side of `benchmarks/training.py`; needs the environment that `make_env.sh rectools` makes.

Its `sampled_softmax` draws the negatives for each position of each sequence, in the collation of the batches, and may
draw the label itself or the same item twice. Dropout is on attention weights, too. Adam with a constant rate. Sequences
are handed over as users of their own, since its data preparation keeps the last `window` + 1 interactions of a user
alone.
"""

from __future__ import annotations

import logging
import warnings
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]
import torch
from pytorch_lightning import Callback, Trainer, seed_everything  # type: ignore[import-not-found,unused-ignore]
from rectools import Columns  # type: ignore[import-not-found,unused-ignore]
from rectools.dataset import Dataset  # type: ignore[import-not-found,unused-ignore]
from rectools.models import SASRecModel  # type: ignore[import-not-found,unused-ignore]

from benchmarks.peers.job import Clock, Float32, Job, Log, Sequences, cut


class EpochClock(Callback):  # type: ignore[misc,unused-ignore]
    """Notes the time after each epoch."""

    def __init__(self) -> None:
        self.clock = Clock()

    def on_train_epoch_end(self, *_: Any) -> None:
        self.clock.note()


def main() -> None:
    """Train, measure, and score if the job wants scores."""
    job = Job.from_command_line()
    torch.set_num_threads(job.threads)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    seed_everything(job.seed, verbose=False)
    log = Log.load(job.log)
    sequences = cut(log, job.window)
    dataset = dataset_of(sequences)
    model = SASRecModel(
        n_blocks=job.blocks,
        n_heads=job.heads,
        n_factors=job.dim,
        dropout_rate=job.dropout,
        session_max_len=job.window,
        loss="sampled_softmax",
        n_negatives=job.negatives,
        lr=job.learning_rate,
        batch_size=job.batch_size,
        epochs=job.epochs,
        # Its own trainer, with a clock.
        get_trainer_func=lambda: Trainer(
            max_epochs=job.epochs,
            min_epochs=job.epochs,
            enable_progress_bar=False,
            enable_model_summary=False,
            logger=False,
            enable_checkpointing=False,
            devices=1,
            accelerator="cpu",
            callbacks=[EpochClock()],
        ),
    )
    model.fit(dataset)
    # It trains with a copy of the trainer.
    timer = next(c for c in model.fit_trainer.callbacks if isinstance(c, EpochClock))
    if job.scores is not None:
        np.save(job.scores, scores(model, dataset, sequences, log.n_items))
    timer.clock.timing(f"rectools {version('rectools')}, torch {torch.__version__}", len(sequences)).tell()


def dataset_of(sequences: Sequences) -> Any:
    """Its data set, a sequence a user."""
    order = np.arange(len(sequences.item))
    frame = pd.DataFrame(
        {
            Columns.User: sequences.sequence,
            Columns.Item: sequences.item,
            Columns.Weight: 1.0,
            Columns.Datetime: pd.Timestamp("2020-01-01") + pd.to_timedelta(order, unit="s"),
        }
    )
    return Dataset.construct(frame)


def scores(model: Any, dataset: Any, sequences: Sequences, n_items: int) -> Float32:
    """Scores after each user's newest sequence; the lowest number where the model does not know the item."""
    known = len(np.unique(sequences.item))
    table = model.recommend(users=sequences.newest, dataset=dataset, k=known, filter_viewed=False)
    row = np.searchsorted(sequences.newest, table[Columns.User].to_numpy())
    score = np.full((len(sequences.newest), n_items), np.finfo(np.float32).min, np.float32)
    score[row, table[Columns.Item].to_numpy()] = table[Columns.Score].to_numpy()
    return score


if __name__ == "__main__":
    main()
