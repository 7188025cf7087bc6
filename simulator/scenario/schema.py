"""The scenario: everything that decides a run, as frozen, documented settings.

Every field has a unit in its name or its description, and a default that works. `loader.py` reads a file into a
`Scenario`; `pushback schema` prints the JSON Schema made from this module.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from simulator.scenario.ab_tests import ABTest
from simulator.scenario.counterfactuals import Counterfactual
from simulator.scenario.durations import parse_duration
from simulator.scenario.event_logs import EventLogs
from simulator.scenario.settings import (
    Duration,
    Name,
    NonNegative,
    Positive,
    PositiveDuration,
    Probability,
    Section,
)


class ColumnNames(Section):
    """Which columns of a table of items hold what."""

    item: str = "item_id"
    """Column with the item's id in your world; any string, unique."""
    creator: str = "creator_id"
    """Column with the creator's id."""
    topics: str = "topics"
    """Column with one or more topics, separated; the first is the primary one."""
    duration: str = "duration_seconds"
    """Column with the duration; an empty cell takes the table's median."""
    release: str | None = None
    """Column with the release date (ISO, `2022-04-09`); without one, all items are there from the start."""


class ItemTable(Section):
    """A catalogue read from a table of real items (CSV, CSV.gz or Parquet)."""

    path: str
    """The file, relative to the scenario; or `shipped:kuairand_videos`, the real catalogue that comes with Pushback."""
    columns: ColumnNames = ColumnNames()
    topic_separator: Annotated[str, Field(min_length=1)] = ","
    """What separates several topics in a cell."""
    duration_unit: Literal["s", "ms"] = "s"
    """Unit of the duration column."""
    min_topic_items: Annotated[int, Field(ge=1)] = 1
    """Topics with fewer items are merged into one topic `other`."""


class Catalogue(Section):
    """Items, creators and topics: synthetic, or with `table`, read from real items."""

    table: ItemTable | None = None
    """A table of real items; the counts below then follow from it."""
    items: Annotated[int, Field(ge=1, le=10_000_000)] = 2_000
    """Number of synthetic items."""
    creators: Annotated[int, Field(ge=1, le=10_000_000)] = 200
    """Number of synthetic creators."""
    topics: Annotated[int, Field(ge=1, le=10_000)] = 20
    """Number of synthetic topics (content clusters)."""
    topics_per_creator: Annotated[float, Field(ge=1)] = 1.5
    """Effective number of topics of a creator's mix: 1 is a specialist."""
    creator_exponent: NonNegative = 0.8
    """Zipf exponent of items per creator; 0 gives equal shares."""
    popularity_exponent: NonNegative = 0.8
    """Zipf exponent of the items' prior popularity; described by the catalogue, not read by any model yet."""
    quality_sd: NonNegative = 0.3
    """Spread of item quality, in units of utility."""
    embedding_dim: Annotated[int, Field(ge=2, le=512)] = 16
    """Dimension of the items' unit embeddings; described by the catalogue, not read by users or metrics yet."""
    duration_median_seconds: Positive = 60.0
    """Median duration of synthetic items."""
    duration_sigma: NonNegative = 0.8
    """Sigma of the log duration of synthetic items."""
    released_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of synthetic items that are there from the start; the rest is released evenly over the run."""
    lifetime: PositiveDuration | None = None
    """How long an item stays eligible after its release; none: for ever."""


class Expressiveness(Section):
    """How likely a displeased user is to press dislike: a heavy-tailed trait, truncated Pareto over users."""

    silent_share: Probability = 0.0
    """Share of users who never press, whatever they feel."""
    exponent: Annotated[float, Field(gt=1)] = 1.57
    """Exponent of the density over users; 1.57 fits real dislike counts."""
    min_probability: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Smallest chance among users who press."""
    max_probability: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Largest chance."""
    session_sigma: NonNegative = 0.0
    """Sigma of a lognormal factor per session with mean 1: why dislikes come in bursts."""


class Population(Section):
    """Who the users are: latent interests, aversions, thresholds."""

    users: Annotated[int, Field(ge=1, le=100_000_000)] = 2_000
    """Number of users."""
    active_topics: Positive = 4.0
    """Mean number of topics that a user is interested in (at least one)."""
    interest_scale: NonNegative = 2.0
    """Utility of a user's favourite topic above a topic of no interest."""
    topic_aversion_probability: Probability = 0.08
    """Chance that a user is averse to a topic."""
    active_topic_aversion_probability: Probability = 0.15
    """Chance that a user is averse to one of the topics that interest them: people dislike within what they watch."""
    topic_aversion: NonNegative = 2.0
    """Mean utility lost in a topic of aversion (exponential over users and topics)."""
    creator_affinity_sd: NonNegative = 0.4
    """Spread of a user's affinity to creators, in utility."""
    creator_aversion_probability: Probability = 0.08
    """Chance that a user is averse to a creator."""
    creator_aversion: NonNegative = 2.5
    """Mean utility lost with a creator of aversion (exponential over users and creators)."""
    skip_threshold: float = 0.0
    """Utility under which the average user skips."""
    skip_threshold_sd: NonNegative = 0.3
    """Spread of the skip threshold over users."""
    dislike_threshold_gap: NonNegative = 1.5
    """How far the dislike threshold lies under the skip threshold."""
    dislike_threshold_gap_sigma: NonNegative = 0.3
    """Sigma of the log gap over users."""
    expressiveness: Expressiveness = Expressiveness()
    """Who presses dislike when displeased."""
    activity_sigma: NonNegative = 0.5
    """Sigma of log activity over users: how often they come."""
    drift_time: PositiveDuration | None = parse_duration("30d")
    """Time constant with which interests revert to the user's own mean; none: interests do not drift."""
    drift_sd: NonNegative = 0.3
    """Stationary spread of the drifting part of a taste, in utility."""


class Behaviour(Section):
    """How a user responds to a slate: attention, watching, pressing."""

    base_utility: float = -0.5
    """Utility of an average item of no interest to an average user."""
    noise_sd: Positive = 1.0
    """Noise of the utility that decides about watching, new at each impression."""
    displeasure_noise_sd: Positive = 0.8
    """Noise of the utility that decides about displeasure; its own, so that a dislike can follow a long dwell."""
    mood_sd: NonNegative = 0.2
    """Spread of a user's mood between sessions, in utility."""
    patience: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Chance to look at the next slot of a slate (mean over users); 1 looks at all."""
    patience_logit_sd: NonNegative = 0.5
    """Spread of the logit of patience over users; no effect at patience 1."""
    skip_dwell_median_seconds: Positive = 2.5
    """Median dwell of a skipped item."""
    skip_dwell_sigma: NonNegative = 0.7
    """Sigma of log dwell of a skipped item."""
    watch_fraction: Positive = 0.4
    """Median share of the duration watched at the skip threshold."""
    watch_gain: NonNegative = 0.5
    """Rise of the log watched share per unit of utility over the threshold."""
    watch_sigma: NonNegative = 0.6
    """Sigma of the log watched share."""
    max_watch_fraction: Positive = 2.0
    """Upper limit of the watched share (loops count)."""
    long_dwell_seconds: Positive = 18.0
    """A dwell is long from here on, or once the item is over if it is shorter."""
    like_threshold: float = 2.0
    """Utility, over the skip threshold, at which half of those who like to press `like` would."""
    like_probability: Probability = 0.3
    """Mean chance to press like when it would be meant."""
    dismiss_probability: Probability = 0.05
    """Chance that a displeased user who does not press dislike dismisses the item."""
    overhead_seconds: NonNegative = 0.5
    """Time between two items."""


class Engagement(Section):
    """Sessions, returns, and how pleasure and annoyance change them: the way from responsiveness to engagement."""

    feedback: bool = True
    """Whether satisfaction and annoyance change sessions and returns; `false` cuts the way."""
    session_impressions_median: Positive = 30.0
    """Median number of impressions that a session is meant to have."""
    session_sigma: NonNegative = 0.8
    """Sigma of the log of that number."""
    same_day_probability: Probability = 0.6
    """Chance that the next session follows after the short gap."""
    short_gap_median: PositiveDuration = parse_duration("2h")
    """Median of the short gap between sessions."""
    long_gap_median: PositiveDuration = parse_duration("20h")
    """Median of the long gap between sessions."""
    gap_sigma: NonNegative = 0.6
    """Sigma of the log gap."""
    satisfaction_memory: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Weight of the newest impression in the moving average of satisfaction."""
    displeasure_weight: NonNegative = 3.0
    """How many long dwells one displeasing item undoes in satisfaction."""
    neutral_satisfaction: float = 0.2
    """Satisfaction at which neither sessions nor returns change."""
    session_gain: NonNegative = 0.5
    """Rise of the log session length per unit of satisfaction."""
    return_gain: NonNegative = 0.5
    """Fall of the log gap per unit of satisfaction."""
    annoyance_topic: NonNegative = 0.05
    """Annoyance from an item of a topic that the user pushed back on."""
    annoyance_creator: NonNegative = 0.3
    """Annoyance from an item of a creator that the user pushed back on."""
    annoyance_time: PositiveDuration = parse_duration("1d")
    """Time constant with which annoyance fades."""
    annoyance_session_cost: NonNegative = 0.3
    """Fall of the log session length per unit of annoyance."""
    annoyance_return_cost: NonNegative = 0.3
    """Rise of the log gap per unit of annoyance."""
    push_back_memory: PositiveDuration = parse_duration("14d")
    """How long a user remembers having pushed back."""
    satiation_gain: NonNegative = 0.05
    """Utility that a topic loses with each item of it that the user dwells on."""
    satiation_time: PositiveDuration = parse_duration("6h")
    """Time constant with which satiation fades."""


class UserModel(Section):
    """Who answers for the users; counterfactuals with another prefix than `lived` have behaviours of their own."""

    behaviour: str = "utility"
    """A registered name (`pushback list behaviours`) or `module:Class` of your own; the settings of `utility` are
    `world.behaviour` and `world.engagement`."""
    config: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each instance
    """The settings of another behaviour."""


class World(Section):
    """What the simulated world is made of; a preset fills in all that is not written."""

    preset: Name | None = None
    """`lively`, `short_video` or `music` (`pushback list presets`)."""
    catalogue: Catalogue = Catalogue()
    population: Population = Population()
    behaviour: Behaviour = Behaviour()
    engagement: Engagement = Engagement()
    user_model: UserModel = UserModel()


class Policy(Section):
    """A recommender by name, with its settings."""

    recommender: str
    """A registered name (`pushback list recommenders`) or `module:Class` of your own."""
    config: dict[str, Any] = {}  # noqa: RUF012 - pydantic copies it for each instance
    """The recommender's settings."""


class ArmPlatform(Section):
    """Settings of the platform that differ in one arm, after the warm-up; what is not written is as for all."""

    ingestion_delay: Annotated[Duration, Field(ge=0)] | None = None
    """How long feedback takes until this arm's recommender can see it."""
    retrain_every: PositiveDuration | None = None
    """Period of this arm's retraining."""
    training_delay: Annotated[Duration, Field(ge=0)] | None = None
    """Time from the start of a retraining to the deployment of its model."""


class Arm(Policy):
    """One treatment of the experiment."""

    name: Name
    """How the report calls the arm."""
    platform: ArmPlatform = ArmPlatform()
    """What the platform does otherwise for this arm."""


class Platform(Section):
    """The serving side: slates, delays, retraining."""

    slate_size: Annotated[int, Field(ge=1, le=1000)] = 10
    """Items per slate."""
    ingestion_delay: Annotated[Duration, Field(ge=0)] = 0
    """How long feedback takes until a recommender can see it, in serving and in training."""
    retrain_every: PositiveDuration | None = None
    """Period of retraining during the experiment; none: each arm is trained once, on the warm-up log."""
    training_delay: Annotated[Duration, Field(ge=0)] = 0
    """Time from the start of a retraining to the deployment of its model."""
    release_every: PositiveDuration = parse_duration("1d")
    """Period at which new items enter and expired ones leave the catalogue."""


class Execution(Section):
    """How a run is carried out; nothing here changes a row of a log."""

    cell_users: Annotated[int, Field(ge=1)] = 8192
    """Most users of a cell: the range of users that lives in one process, whatever the number of workers, and whose
    rows are in files of their own where logs are streamed."""
    call_timeout: PositiveDuration = parse_duration("10m")
    """How long a recommender or a user model may take over one batch before that is an error."""
    on_arm_error: Literal["stop", "continue"] = "stop"
    """What an arm does to the run whose recommender fails: `stop` ends it; `continue` gives up this arm and finishes
    the others, unless the arm is the control, or the last treatment that is left. Not for arms that share a world."""


class Scenario(Section):
    """A question about a recommender, and the world in which it is asked."""

    question: Annotated[str, Field(min_length=1)]
    """What the scenario asks, in one sentence."""
    expected: Annotated[str, Field(min_length=1)]
    """What the authors expect to see."""
    run_time: Annotated[str, Field(min_length=1)]
    """About how long a run takes, and on what."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 1
    """The only source of randomness."""
    world: World = World()
    platform: Platform = Platform()
    logging_policy: Policy = Policy(recommender="random")
    """Makes the log that all arms start from."""
    warm_up: PositiveDuration = parse_duration("7d")
    """How long the logging policy serves before the arms part."""
    arms: Annotated[tuple[Arm, ...], Field(min_length=1)]
    """The treatments."""
    control: Name
    """The arm that the others are compared with."""
    ab_test: ABTest | None = None
    """Run an A/B test, of the design that `design` names."""
    counterfactual: Counterfactual | None = None
    """Run paired counterfactual trajectories."""
    metrics: tuple[str, ...] = ()
    """Metrics to report: registered names (`pushback list metrics`) or `module:object`; empty: all built-in ones."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Level of all intervals."""
    log: EventLogs = EventLogs()
    """What is written of the event logs, and how."""
    reports: tuple[str, ...] = ()
    """What else to write of a finished run: registered names (`pushback list reports`) or `module:function`."""
    thresholds: tuple[str, ...] = ()
    """Conditions on the estimates that set the exit code, such as `responsiveness.creator[ntr] <= -0.3`."""
    execution: Execution = Execution()

    def platform_of(self, arm: str) -> Platform:
        """The platform as one arm has it."""
        own = next(a.platform for a in self.arms if a.name == arm)
        written = {key: value for key, value in own if value is not None}
        return self.platform.model_copy(update=written)
