"""Our SASRec as a side of `benchmarks/training.py`.

Everything from the shuffling of sequences to the check of the loss is in the time; cutting the log is not. Epochs are
told apart by `fit`'s progress. AdamW with a rate that falls linearly to a tenth.
"""

from __future__ import annotations

from importlib.metadata import version

import numpy as np
import torch

from benchmarks.peers.job import Clock, Float32, Job, Log, cut
from recommenders.base import Feedback, Interactions, ItemFeatures, Requests, Scorer
from recommenders.registry import build


def main() -> None:
    """Train, measure, and score if the job wants scores."""
    job = Job.from_command_line()
    torch.set_num_threads(job.threads)
    log = Log.load(job.log)
    settings = {
        "dim": job.dim,
        "blocks": job.blocks,
        "heads": job.heads,
        "window": job.window,
        "dropout": job.dropout,
        "negatives": job.negatives,
        "negatives_shared_by": job.shared_by,
        "batch_size": job.batch_size,
        "epochs": job.epochs,
        "learning_rate": job.learning_rate,
        "item_parts": ("id",),
        "dwell_input": False,
        "like_input": False,
    }
    recommender = build("sasrec", settings)
    clock = Clock()

    def note(done: int, total: int) -> None:
        if done % (total // job.epochs) == 0:
            clock.note()

    recommender.fit(interactions(log), features(log.n_items), seed=job.seed, progress=note)
    assert isinstance(recommender, Scorer)
    if job.scores is not None:
        np.save(job.scores, scores(recommender, log, job.window))
    sequences = len(cut(log, job.window))
    clock.timing(f"pushback {version('pushback')}, torch {torch.__version__}", sequences).tell()


def interactions(log: Log) -> Interactions:
    """The log as the contract wants it; every interaction is a long dwell."""
    n = len(log.user)
    feedback = np.full(n, Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8)
    return Interactions(np.arange(n), log.user, log.item, feedback, np.ones(n, np.float32))


def features(n_items: int) -> ItemFeatures:
    """A catalogue of which nothing is known."""
    nothing = np.zeros(n_items, np.int32)
    return ItemFeatures(nothing, nothing, np.ones(n_items, np.float32), np.zeros(n_items, np.int64), 1, 1)


def scores(recommender: Scorer, log: Log, window: int) -> Float32:
    """Scores of all items after each user's history: float32[n_users, n_items]."""
    width = recommender.traits.history_length
    sequences = cut(log, width)
    item = np.full((log.n_users, width), -1, np.int32)
    for user, newest in enumerate(sequences.newest):
        history = sequences.item[sequences.sequence == newest][-width:]
        item[user, width - len(history) :] = history
    real = item >= 0
    nobody = np.zeros(len(item), np.int32)
    requests = Requests(
        user=np.arange(len(item), dtype=np.int32),
        session=nobody,
        step=nobody,
        tick=np.full(len(item), len(log.user)),
        history_item=item,
        history_feedback=np.where(real, Feedback.EXAMINED | Feedback.LONG_DWELL, 0).astype(np.uint8),
        history_dwell_seconds=real.astype(np.float32),
        history_tick=np.zeros(item.shape, np.int64),
        eligible=np.ones(log.n_items, np.bool_),
    )
    return recommender.scores(requests)


if __name__ == "__main__":
    main()
