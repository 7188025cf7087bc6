"""A scenario's experiment from end to end: one warm-up, then each arm in its own copy of the world, then the estimates.

Arms are independent of each other once the warm-up is over, so they may run one after the other or at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from recommenders.base import TICKS_PER_SECOND, Recommender, State
from simulator.draws import Purpose
from simulator.engine.cells import Executor, Here
from simulator.engine.checkpoints import Stages
from simulator.engine.clock import Service, Workplace, simulate
from simulator.engine.log import EventLog, FeedbackLog
from simulator.engine.log_parts import StreamedLog, read_users
from simulator.engine.packing import check_can_be_kept
from simulator.engine.serving import blaming, build_recommender
from simulator.engine.snapshot import Snapshot, deploy, genesis
from simulator.experiment.ab_findings import ABFindings, find, find_streamed
from simulator.experiment.abtest import rehearse
from simulator.experiment.assignment import planned
from simulator.experiment.branches import Branches
from simulator.experiment.cell_metrics import WARM_UP, StreamedTest, rehearse_streamed
from simulator.experiment.cell_readings import CellReadings
from simulator.experiment.counterfactual import run_counterfactual
from simulator.experiment.design_words import describe_design
from simulator.experiment.failures import with_failures
from simulator.experiment.metrics import select_metrics
from simulator.experiment.mixed import MixedArm, simulate_mixed
from simulator.experiment.pairs import ab_test_pair, counterfactual_pair, notable_runs
from simulator.experiment.replay import Histories
from simulator.experiment.responses import analyse_branches, future_effects
from simulator.experiment.responsiveness import similarity
from simulator.experiment.results import ArmFailure, Results, TrajectoryPair
from simulator.experiment.streaming import sinks_of, streamed_pairs, streamed_test
from simulator.experiment.verdicts import judge
from simulator.scenario.ab_tests import HOLDOUT, MixedABTest, PairedABTest
from simulator.scenario.counterfactuals import actions_label, protocol_in_words
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.scenario.schema import Scenario
from simulator.scenario.thresholds import parse_threshold
from simulator.world.registry import behaviour_of
from simulator.world.world import World, build_world

Build = Callable[[], Recommender]

Watch = Callable[[str, float, float, int], None]
"""Called as `watch(stage, done, total, impressions)`: how far a stage has come, and impressions since last told."""

_EMPTY = EventLog.empty()


@dataclass(frozen=True)
class Study:
    """What all arms of a scenario share.

    Attributes:
        scenario: the settings.
        world: built from them.
        start: the world when the warm-up ends and the arms part.
        histories: of a counterfactual that replays a log.
        streamed: where the logs are and what is asked of them, where they are not held in memory.
    """

    scenario: Scenario
    world: World
    start: Snapshot
    histories: Histories | None = None
    streamed: StreamedTest | None = None

    def sinks(self, name: str) -> StreamedLog | None:
        """What takes an arm's log of the A/B test; None where it stays in memory."""
        return None if self.streamed is None else sinks_of(self.streamed, name)

    def lived(self, runs: int) -> EventLog:
        """The warm-up's log of the first users."""
        if self.streamed is None:
            return self.start.log
        return read_users(self.streamed.folder / WARM_UP, self.streamed.cells, runs)


@dataclass(frozen=True)
class ArmOutcome:
    """What one arm gave.

    Attributes:
        name: the arm, or `holdout`.
        log: what it served in the A/B test, without the warm-up; empty without one, and where logs are streamed.
        branches: its counterfactual runs; None without them.
        seconds: wall-clock seconds by stage.
    """

    name: str
    log: EventLog
    branches: Branches | None
    seconds: dict[str, float] = field(default_factory=dict)


def in_words(stage: str) -> str:
    """A stage as people read it, who do not know the name of its file."""
    return {"ab_test": "A/B test"}.get(stage, stage)


def horizon(scenario: Scenario) -> int:
    """Ticks from the beginning of the world to the end of its longest experiment."""
    ab_test = scenario.ab_test.duration if scenario.ab_test else 0
    counterfactual = scenario.counterfactual.duration if scenario.counterfactual else 0
    return scenario.warm_up + max(ab_test, counterfactual)


def prepare(
    scenario: Scenario,
    directory: Path,
    policy: Build,
    arms: Mapping[str, Build],
    watch: Watch,
    stages: Stages | None = None,
    events: Path | None = None,
    executor: Executor | None = None,
) -> Study:
    """Build the world and let the logging policy serve through the warm-up.

    Args:
        scenario: the settings.
        directory: what relative paths of tables start from.
        policy: builds the logging policy.
        arms: arm -> how to build its recommender; their longest window decides how much history is kept.
        watch: told of progress.
        stages: keeps the warm-up: at once if it took as long as a checkpoint is to be away from the next.
        events: where logs are written that the scenario wants to be streamed; None holds them in memory all the same.
        executor: where users live; None: in this process.

    Raises:
        CatalogueError: the table of items cannot be used.
        EngineError: the logging policy broke its contract.
        MetricError: a metric of the user's own failed or broke its contract on the warm-up.
    """
    world = scenario_world(scenario, directory)
    length = max((build_recommender(name, build).traits.history_length for name, build in arms.items()), default=0)
    stages = stages or Stages()
    streamed = None if events is None else streamed_test(scenario, world, events)
    sinks = None if streamed is None else sinks_of(streamed, WARM_UP)
    start = stages.once(
        "warm_up",
        lambda: warm_up(scenario, world, policy, length, watch, stages, sinks, executor),
        like=lambda: behaviour_of(world).begin(world),
        # Its world is all of a run's users: to write them may take a tenth of what it took to make them.
        least_seconds=stages.period.seconds or 0.0,
        at_a_stop=True,
    )
    if streamed is not None:
        rehearse_streamed(streamed)
        return Study(scenario, world, start, streamed=streamed)
    if scenario.ab_test is not None:
        rehearse(
            scenario.metrics, start.log, world.catalogue.features,
            n_users=world.population.n_users, end_tick=scenario.warm_up,
        )  # fmt: skip
    return Study(scenario, world, start)


def scenario_world(scenario: Scenario, directory: Path) -> World:
    """The world of a scenario, long enough for its experiments.

    Args:
        scenario: the settings.
        directory: what relative paths of tables start from.

    Raises:
        CatalogueError: the table of items cannot be used.
    """
    return build_world(scenario.world, seed=scenario.seed, horizon_ticks=horizon(scenario), directory=directory)


def workplace(scenario: Scenario, executor: Executor | None = None) -> Workplace:
    """Where the users of a scenario live: with an executor, or in this process."""
    execution = scenario.execution
    return Workplace(executor or Here(), execution.cell_users, execution.call_timeout / TICKS_PER_SECOND)


def warm_up(
    scenario: Scenario,
    world: World,
    policy: Build,
    history_length: int,
    watch: Watch,
    stages: Stages | None = None,
    sinks: StreamedLog | None = None,
    executor: Executor | None = None,
) -> Snapshot:
    """Let the logging policy serve until the arms part.

    Args:
        scenario: the settings.
        world: built from them.
        policy: builds the logging policy.
        history_length: the longest window of feedback that anybody will ask for afterwards.
        watch: told of progress.
        stages: keeps how far it has come.
        sinks: take the log, of which the snapshot then has only what training reads; None: it holds all of it.
        executor: where users live; None: in this process.

    Raises:
        EngineError: the logging policy broke its contract.
    """
    behaviour = behaviour_of(world)
    length = max(build_recommender("logging_policy", policy).traits.history_length, history_length)
    model = fit_arm("logging_policy", policy, _EMPTY, world, scenario.platform.ingestion_delay, 0, watch)
    platform = scenario.platform.model_copy(update={"retrain_every": None})
    service = Service("logging_policy", policy, platform, workplace=workplace(scenario, executor))
    return simulate(
        world, behaviour, service, genesis(world, behaviour, length, model), scenario.warm_up,
        longest_delay=max(scenario.platform_of(arm.name).ingestion_delay for arm in scenario.arms),
        heartbeat=_heartbeat(watch, "warm-up", 0, scenario.warm_up, platform.slate_size),
        checkpoint=(stages or Stages()).checkpoint("warm_up"), sinks=sinks, keep_feedback=True,
    ).end  # fmt: skip


def run_arm(
    study: Study,
    name: str,
    build: Build,
    watch: Watch,
    stages: Stages | None = None,
    executor: Executor | None = None,
) -> ArmOutcome:
    """Train one arm on the warm-up's log and run what the scenario asks of it alone.

    An A/B test whose arms share one world is not among that (`run_mixed`).

    Args:
        study: what the arms share.
        name: of the arm.
        build: makes its unfitted recommender.
        watch: told of progress.
        stages: keeps the fitted model, the log of the A/B test, and the branches.
        executor: where users live; None: in this process.

    Raises:
        EngineError: the recommender could not be trained or broke its contract.
    """
    scenario, world, start = study.scenario, study.world, study.start
    platform = scenario.platform_of(name)
    stages = stages or Stages()
    model = stages.once(
        "training", lambda: fit_arm(name, build, start.learnable, world, platform.ingestion_delay, start.tick, watch)
    )
    service = Service(name, build, platform, start.tick, workplace(scenario, executor))
    log, branches = _EMPTY, None
    if isinstance(scenario.ab_test, PairedABTest):
        until = start.tick + scenario.ab_test.duration
        log = stages.once("ab_test", lambda: simulate(
            world, behaviour_of(world), service, deploy(start, model), until,
            heartbeat=_heartbeat(watch, "A/B test", start.tick, until, platform.slate_size),
            training=lambda done, total: watch("retraining", done, total, 0),
            checkpoint=stages.checkpoint("ab_test"), sinks=study.sinks(name),
        ).log)  # fmt: skip
    if scenario.counterfactual is not None:
        settings = scenario.counterfactual
        by_item_k = settings.prefix == "random" and settings.trigger == "item_k"
        parting = start.tick + (settings.k * settings.request_every if by_item_k else settings.trigger_within)
        if settings.prefix == "lived":
            start = replace(start, log=study.lived(settings.runs))
        branches = stages.once("counterfactual", lambda: run_counterfactual(
            world, service, model, settings, start=start, histories=study.histories,
            heartbeat=_heartbeat(watch, "counterfactual", start.tick, parting, platform.slate_size),
            stages=stages.within("counterfactual", name),
        ))  # fmt: skip
    return ArmOutcome(name, log, branches, {in_words(stage): took for stage, took in stages.took.items()})


def run_mixed(
    study: Study,
    builds: Mapping[str, Build],
    watch: Watch,
    stages: Stages | None = None,
    executor: Executor | None = None,
) -> tuple[ArmOutcome, ...]:
    """Train all arms on the warm-up's log and run the A/B test in which they share one world.

    Args:
        study: what the arms share.
        builds: arm -> how to build its recommender.
        watch: told of progress.
        stages: keeps the fitted models, how far the test has come, and its logs.
        executor: where users live; None: in this process.

    Returns:
        What each arm served, in the scenario's order, then what the holdout was served; nothing for other designs.

    Raises:
        EngineError: a recommender could not be trained or broke its contract.
    """
    scenario, world, start = study.scenario, study.world, study.start
    settings, plan = scenario.ab_test, planned(scenario, world)
    if plan is None or not isinstance(settings, MixedABTest):
        return ()
    stages = stages or Stages()
    before = start.learnable
    models = stages.once("training", lambda: {
        name: fit_arm(name, build, before, world, scenario.platform_of(name).ingestion_delay, start.tick, watch)
        for name, build in builds.items()
    })  # fmt: skip
    arms = []
    for name in plan.arms:
        policy = scenario.control if name == HOLDOUT and name not in builds else name
        own = scenario.platform_of(policy)
        if policy != name:
            own = own.model_copy(update={"retrain_every": None})
        service = Service(name, builds[policy], own, start.tick, workplace(scenario, executor))
        arms.append(MixedArm(service, models[policy], study.sinks(name)))
    until = start.tick + settings.duration
    logs = stages.once("ab_test", lambda: simulate_mixed(
        world, behaviour_of(world), arms, start, plan.stretches, pooled=settings.training == "pooled",
        heartbeat=_heartbeat(watch, "A/B test", start.tick, until, scenario.platform.slate_size),
        training=lambda done, total: watch("retraining", done, total, 0),
        checkpoint=stages.checkpoint("ab_test"),
    ))  # fmt: skip
    seconds = {in_words(stage): took for stage, took in stages.took.items()}
    # The stages are of all arms together: they count once, for the first.
    return tuple(ArmOutcome(name, log, None, {} if i else seconds) for i, (name, log) in enumerate(logs.items()))


def fit_arm(
    arm: str, build: Build, log: EventLog | FeedbackLog, world: World, delay: int, tick: int, watch: Watch
) -> State:
    """A model of an arm, trained on the feedback that a log has delivered by a tick.

    Args:
        arm: its name, for errors.
        build: makes an unfitted recommender.
        log: in order of (tick, user, slot).
        world: the frozen world.
        delay: how long feedback travels.
        tick: now.
        watch: told of progress.

    Raises:
        EngineError: the recommender could not be trained.
    """
    recommender = build_recommender(arm, build)
    interactions = log.interactions(tick - delay + 1)
    with blaming(arm, "training"):
        recommender.fit(
            interactions,
            world.catalogue.features,
            seed=world.draws.integer_seed(Purpose.FIT, 0),
            progress=lambda done, total: watch("training", done, total, 0),
        )
        state = recommender.state_dict()
        check_can_be_kept(state, "state_dict")
        return state


def _heartbeat(watch: Watch, stage: str, start: int, until: int, slate_size: int) -> Callable[[float, int], None]:
    def beat(tick: float, n_requests: int) -> None:
        watch(stage, (tick - start) / TICKS_PER_DAY, (until - start) / TICKS_PER_DAY, n_requests * slate_size)

    return beat


def estimate(
    study: Study,
    name: str,
    outcomes: Sequence[ArmOutcome],
    readings: CellReadings | None = None,
    failures: Sequence[ArmFailure] = (),
) -> Results:
    """All estimates of a scenario; the answer's sentence is left to the report.

    Args:
        study: what the arms share.
        name: of the scenario.
        outcomes: one for each arm that was finished, in the scenario's order; then that of the holdout, if there is
            one.
        readings: of streamed logs (`cell_metrics.read_test`).
        failures: of the other arms.
    """
    scenario = study.scenario
    found = _ab_test(study, outcomes, readings)
    ab_ticks = scenario.ab_test.duration if scenario.ab_test else 0
    counterfactual = scenario.counterfactual
    lives_on = counterfactual is not None and counterfactual.follow is not None
    results = Results(
        scenario=name,
        question=scenario.question,
        expected=scenario.expected,
        control=scenario.control,
        arms=tuple(dict.fromkeys([arm.name for arm in scenario.arms] + [o.name for o in outcomes])),
        confidence=scenario.confidence,
        users=study.world.population.n_users if scenario.ab_test else 0,
        runs=min((len(o.branches.run) for o in outcomes if o.branches is not None), default=0),
        protocol=protocol_in_words(counterfactual) if counterfactual else "",
        base_action=actions_label(counterfactual.base) if counterfactual else "",
        other_action=actions_label(counterfactual.action) if counterfactual else "",
        ab_days=ab_ticks / TICKS_PER_DAY,
        answer="",
        pairs=_pairs(study, outcomes, readings),
        design=scenario.ab_test.design if scenario.ab_test else "paired",
        design_words=describe_design(scenario),
        metrics=tuple(m.info for m in select_metrics(scenario.metrics)) if lives_on else (),
        **_responses(study, outcomes),
    )
    if found is not None:
        results = replace(
            results,
            metrics=found.analysis.metrics,
            levels=found.analysis.levels,
            comparisons=found.analysis.comparisons,
            series=found.analysis.series,
            estimators=found.estimators,
            sample_ratios=found.sample_ratios,
            guardrails=found.guardrails,
            watched=found.watched,
            ab_segments=found.segments,
        )
    results = with_failures(results, failures, scenario.ab_test.guardrails if scenario.ab_test else ())
    thresholds = [parse_threshold(text) for text in scenario.thresholds]
    verdicts = judge(
        thresholds,
        responsiveness=[*results.responsiveness, *results.selectivity],
        comparisons=results.comparisons,
        levels=results.levels,
    )
    return replace(results, verdicts=verdicts)


def _responses(study: Study, outcomes: Sequence[ArmOutcome]) -> dict[str, tuple[Any, ...]]:
    """Attributes of `Results` that come from the counterfactual."""
    settings, confidence = study.scenario.counterfactual, study.scenario.confidence
    lived = settings is not None and settings.prefix == "lived"
    before = study.lived(settings.runs) if settings is not None and lived else _EMPTY
    found: dict[str, tuple[Any, ...]] = {}
    for o in outcomes:
        if settings is None or o.branches is None:
            continue
        analysis = analyse_branches(
            o.name, o.branches, before, study.world.catalogue,
            ingestion_delay=study.scenario.platform_of(o.name).ingestion_delay, confidence=confidence, segmented=lived,
        )  # fmt: skip
        parts = {f.name: getattr(analysis, f.name) for f in fields(analysis)}
        if lived and settings.follow is not None:
            parts["futures"] = future_effects(
                o.name, o.branches, before, study.scenario.metrics, study.world.catalogue.features,
                n_users=study.world.population.n_users, start_tick=study.start.tick + settings.trigger_within,
                confidence=confidence,
            )  # fmt: skip
        found = {name: (*found.get(name, ()), *rows) for name, rows in parts.items()}
    return found


def _ab_test(study: Study, outcomes: Sequence[ArmOutcome], readings: CellReadings | None) -> ABFindings | None:
    settings = study.scenario.ab_test
    if settings is None:
        return None
    seed = study.world.draws.integer_seed(Purpose.BOOTSTRAP, 0)
    plan = planned(study.scenario, study.world)
    if readings is not None:
        return find_streamed(study.scenario, settings, plan, readings, seed=seed)
    return find(
        study.scenario, settings, plan, {o.name: o.log for o in outcomes}, study.start.log,
        study.world.catalogue.features,
        n_users=study.world.population.n_users, start_tick=study.start.tick, seed=seed,
    )  # fmt: skip


def _pairs(study: Study, outcomes: Sequence[ArmOutcome], readings: CellReadings | None) -> tuple[TrajectoryPair, ...]:
    """The trajectories that the report shows side by side: each responding arm's notable runs, one user a treatment."""
    items, scenario = study.world.catalogue.features, study.scenario
    pairs: list[TrajectoryPair] = []
    for o in outcomes:
        if o.branches is None or scenario.counterfactual is None:
            continue
        b = o.branches
        made = (b.base.next_slates[:, 0] >= 0) & (b.action.next_slates[:, 0] >= 0)
        run, focus_item = b.run[made], b.focus_item[made]
        base, action = (similarity(x.next_slates[made], focus_item, items).creator for x in (b.base, b.action))
        if (base == action).all():
            continue
        pairs += [
            counterfactual_pair(
                o.name, int(run[notable.row]), prefix=b.prefix, base=b.base.log, action=b.action.log,
                base_label=actions_label(scenario.counterfactual.base),
                action_label=actions_label(scenario.counterfactual.action),
                focus_item=int(focus_item[notable.row]), items=items, why=notable.why,
            )
            for notable in notable_runs(run, base, action)
        ]  # fmt: skip
    if readings is not None:
        return (*pairs, *streamed_pairs(readings, scenario.control))
    if isinstance(scenario.ab_test, PairedABTest):
        logs = {o.name: EventLog.concatenate([study.start.log, o.log]) for o in outcomes}
        for arm, log in logs.items():
            if arm != scenario.control:
                pair = ab_test_pair(
                    scenario.control, logs[scenario.control], arm, log, items, start_tick=study.start.tick
                )
                pairs += [] if pair is None else [pair]
    return tuple(pairs)
