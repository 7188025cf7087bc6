"""Is a preset believable? Its simulated figures against those of real platforms.

Each preset has a sheet beside this module, `target_figures/<preset>.yaml`: the world in which it is measured, and the
figures it is held to, each with its source.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from recommenders.base import Recommender
from simulator.draws import Purpose
from simulator.engine.clock import Service, simulate
from simulator.engine.log import EventLog
from simulator.engine.snapshot import genesis
from simulator.experiment.target_statistics import STATISTICS, Views
from simulator.scenario import schema
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.scenario.faults import Sources
from simulator.scenario.presets import merge_beneath, read_preset
from simulator.scenario.settings import Name, Positive, Section
from simulator.scenario.validation import validate
from simulator.scenario.yaml_nodes import parse_yaml
from simulator.world.registry import behaviour_of
from simulator.world.world import World, build_world

FACTOR = 1.5
"""How far from its target a simulated figure may lie."""

_FOLDER = files("simulator.experiment") / "target_figures"

BuildPolicy = Callable[[str, Mapping[str, Any]], Recommender]
"""Makes an unfitted recommender from its registered name and its settings."""

Watch = Callable[[str, float, float, int], None]
"""Called as `watch(run, day, days, impressions)`: progress of a run, with the impressions since last told."""


class Figure(Section):
    """One figure that a preset is held to. A point has `low` equal to `high`."""

    statistic: Name
    """Name in `target_statistics.STATISTICS`."""
    label: Annotated[str, Field(min_length=1)]
    """The figure in words."""
    low: Positive
    """Lower end of the target."""
    high: Positive
    """Upper end of the target."""
    unit: Literal["share", "count", "seconds", "minutes", "score"]
    """Tells how to print a value."""
    source: Annotated[str, Field(min_length=1)]
    """Where the target comes from, and by what arithmetic if it is derived."""
    run: Name
    """The run that the figure is measured on."""
    over: Name | None = None
    """A second run: the figure is then a ratio, the statistic on `run` over the statistic on this one."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Figure:
        if self.high < self.low:
            raise ValueError(f"high: got {self.high}, expected at least low = {self.low}")
        if self.statistic not in STATISTICS:
            raise ValueError(f"statistic: got {self.statistic!r}, expected one of {sorted(STATISTICS)}")
        return self


class MeasuredRun(schema.Policy):
    """One simulation of the preset's world: a policy, and for how long."""

    days: Annotated[int, Field(ge=1)] | None = None
    """Simulated days; none: as long as the sheet says."""


class TargetSheet(Section):
    """The figures of a preset, and the world in which they are measured."""

    catalogue: schema.Catalogue
    """The items."""
    slate_size: Annotated[int, Field(ge=1, le=1000)]
    """Items per slate."""
    users: Annotated[int, Field(ge=1)]
    """Simulated users, so many that chance moves no figure by more than a small part of the tolerance."""
    days: Annotated[int, Field(ge=1)]
    """Simulated days of a run that names none."""
    runs: Annotated[dict[Name, MeasuredRun], Field(min_length=1)]
    """The simulations, by name."""
    figures: Annotated[tuple[Figure, ...], Field(min_length=1)]
    """What is compared."""

    @model_validator(mode="after")
    def _names_known_runs(self) -> TargetSheet:
        for figure in self.figures:
            for run in (figure.run, figure.over):
                if run is not None and run not in self.runs:
                    raise ValueError(
                        f"figure {figure.statistic}: run: got {run!r}, expected one of {sorted(self.runs)}"
                    )
        return self


@dataclass(frozen=True)
class TargetRow:
    """A figure and what the simulation made of it.

    Attributes:
        figure: the target.
        simulated: the measured value; NaN where there was nothing to measure.
        ratio: simulated over the nearest end of the target; 1 inside it; NaN where there was nothing to measure.
    """

    figure: Figure
    simulated: float
    ratio: float

    @property
    def passed(self) -> bool:
        """Whether the ratio is within the tolerance; a figure that could not be measured fails."""
        return 1.0 / FACTOR <= self.ratio <= FACTOR


def compare(figure: Figure, simulated: float) -> TargetRow:
    """Set a measured value beside its target."""
    nearest = min(max(simulated, figure.low), figure.high)
    return TargetRow(figure, simulated, simulated / nearest)


@cache
def sheet_names() -> tuple[str, ...]:
    """Names of the presets that have a sheet of targets, sorted."""
    return tuple(sorted(f.name.removesuffix(".yaml") for f in _FOLDER.iterdir() if f.name.endswith(".yaml")))


def read_sheet(preset: str) -> TargetSheet:
    """The sheet of a preset.

    Raises:
        ScenarioErrors: the file is at fault.
    """
    sources = Sources(f"targets of {preset}")
    data = parse_yaml((_FOLDER / f"{preset}.yaml").read_text(encoding="utf-8"), sources)
    sheet = validate(TargetSheet, data, (), sources)
    sources.raise_if_any()
    assert sheet is not None  # a sheet without an instance has faults
    return sheet


def measured_world(preset: str, sheet: TargetSheet, *, users: int) -> schema.World:
    """The settings of the world in which a preset is measured: its own, on the sheet's catalogue."""
    sheet_part = {
        "preset": preset,
        "catalogue": sheet.catalogue.model_dump(mode="json", exclude_unset=True),
        "population": {"users": users},
    }
    return schema.World.model_validate(merge_beneath(read_preset(preset), sheet_part))


def measure(
    preset: str,
    sheet: TargetSheet,
    build: BuildPolicy,
    *,
    users: int | None = None,
    days: int | None = None,
    seed: int = 1,
    watch: Watch | None = None,
) -> list[TargetRow]:
    """Simulate a preset's world and compare it with its figures.

    Args:
        preset: its name.
        sheet: its targets.
        build: makes the policies of the runs.
        users: how many instead of the sheet's; fewer make the heavy tails noisy.
        days: how long instead of the sheet's; runs with a shorter length of their own keep it.
        seed: of the world.
        watch: told of progress.

    Returns:
        One row a figure, in the sheet's order.
    """
    days = days or sheet.days
    settings = measured_world(preset, sheet, users=users or sheet.users)
    world = build_world(settings, seed=seed, horizon_ticks=days * TICKS_PER_DAY, directory=Path())
    simulated: dict[int, float] = {}
    for name, run in sheet.runs.items():
        run_days = min(run.days or days, days)
        views = _views(world, name, run, sheet.slate_size, run_days, build, watch)
        # Ratios need the statistic of a second run, and only one log at a time is kept in memory.
        for place, figure in enumerate(sheet.figures):
            if figure.run == name:
                simulated[place] = STATISTICS[figure.statistic](views) * simulated.get(place, 1.0)
            if figure.over == name:
                simulated[place] = simulated.get(place, 1.0) / STATISTICS[figure.statistic](views)
    return [compare(figure, simulated[place]) for place, figure in enumerate(sheet.figures)]


def _views(
    world: World, name: str, run: MeasuredRun, slate_size: int, days: int, build: BuildPolicy, watch: Watch | None
) -> Views:
    items = world.catalogue.features
    policy = build(run.recommender, run.config)
    policy.fit(EventLog.empty().interactions(0), items, seed=world.draws.integer_seed(Purpose.FIT, 0))
    service = Service(name, lambda: build(run.recommender, run.config), schema.Platform(slate_size=slate_size))
    behaviour = behaviour_of(world)
    start = genesis(world, behaviour, policy.traits.history_length, policy.state_dict())

    def heartbeat(tick: float, n_requests: int) -> None:
        if watch is not None:
            watch(name, tick / TICKS_PER_DAY, days, n_requests * slate_size)

    log = simulate(world, behaviour, service, start, days * TICKS_PER_DAY, heartbeat=heartbeat).log
    return Views.of(log, items, n_users=world.population.n_users, n_days=days)
