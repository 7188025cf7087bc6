"""`pushback train`: a recommender fitted on a whole log, and saved."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from recommenders import storage
from recommenders.base import RecommenderError
from recommenders.offline.backtest import ModelSpec
from recommenders.offline.log import OfflineLog
from recommenders.registry import build
from simulator.allocator import keep_freed_memory
from simulator.progress import StudyProgress, throttled


@dataclass(frozen=True)
class Trained:
    """A saved model.

    Attributes:
        folder: where.
        info: what was saved beside the weights.
        n_bytes: of both files.
        fit_seconds: wall-clock time.
    """

    folder: Path
    info: storage.ModelInfo
    n_bytes: int
    fit_seconds: float


def train_and_save(spec: ModelSpec, log: OfflineLog, *, seed: int, out: Path, console: Console) -> Trained:
    """Fit a recommender on all rows of a log and save it into a new folder.

    Args:
        spec: the recommender.
        log: as it was read.
        seed: of the training.
        out: the folder; must not exist and can be made, which is found out before anything is trained.
        console: shows progress if it is a terminal.

    Raises:
        RecommenderError: it cannot be fitted without a world.
        StorageError: it cannot be saved.
    """
    keep_freed_memory()
    recommender = build(spec.recommender, spec.config)
    if recommender.traits.needs_utility:
        raise RecommenderError(f"model {spec.name!r}: reads latent utilities, which no log has")
    with storage.new_folder(out) as part:
        clock = time.perf_counter()
        with StudyProgress(console) as progress:
            tell = partial(_say, throttled(progress.update), spec.name)
            recommender.fit(log.interactions, log.items, seed=seed, progress=tell)
        seconds = time.perf_counter() - clock
        info = storage.write(
            part,
            recommender,
            spec.recommender,
            spec.config,
            log.items,
            item_ids=log.item_ids,
            user_ids=log.user_ids,
            training={
                "log": Path(log.file).name,
                "log_sha256": log.sha256,
                "rows": len(log.interactions),
                "start_millisecond": log.start_millisecond,
                "seed": seed,
            },
        )
    n_bytes = sum((out / name).stat().st_size for name in (storage.MODEL_FILE, storage.WEIGHTS_FILE))
    return Trained(out, info, n_bytes, seconds)


def _say(tell: Any, who: str, done: int, total: int) -> None:
    tell(who, "fit", done, total, 0)
