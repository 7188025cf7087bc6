"""Real histories for a counterfactual that replays them, read from the log that its scenario names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.commands.logs import SHIPPED_PREFIX, LogOptions, open_log
from simulator.experiment.replay import Histories, ReplayError, read_histories
from simulator.experiment.study import Study
from simulator.scenario.loader import LoadedScenario


def histories_of(loaded: LoadedScenario, study: Study) -> Histories | None:
    """The histories that a counterfactual replays.

    Raises:
        LogError, ReplayError: the log cannot be used, or has too few users.
    """
    settings = loaded.scenario.counterfactual
    if settings is None or settings.replay is None or settings.prefix != "replayed":
        return None
    replay = settings.replay
    shipped = replay.log.startswith(SHIPPED_PREFIX)
    log = open_log(
        LogOptions(
            replay.log if shipped else str(loaded.path.parent / replay.log), replay.format,
            columns=_pairs(replay.columns), event=replay.event, event_map=_pairs(replay.map), every=replay.every,
        )
    )  # fmt: skip
    names = study.world.catalogue.item_name or ()
    histories = read_histories(log.interactions, log.item_ids, names, settings.k - 1, log.file)
    if len(histories) < settings.runs:
        got = f"{settings.runs}, expected at most {len(histories)}"
        raise ReplayError(f"counterfactual.runs: got {got}, the users of {log.file} with items of the catalogue")
    return histories


def _pairs(names: Mapping[Any, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in names.items())
