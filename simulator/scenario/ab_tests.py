"""Settings of an A/B test: three designs, told apart by `design`, of which `paired` is the default."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, Tag

from simulator.scenario.durations import parse_duration
from simulator.scenario.settings import Duration, Name, PositiveDuration, Section, chosen_by

HOLDOUT = "holdout"
"""How results call the users whom a split holds out; no arm may have the name then."""

Training = Literal["own", "pooled"]
OpenShare = Annotated[float, Field(gt=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]


class Guardrail(Section):
    """A metric that a treatment must not make worse."""

    metric: Name
    """Which metric (`pushback list metrics`)."""
    margin: OpenShare
    """Largest loss that is borne, as a share of the control's level: 0.02 is 2%."""


class RampStep(Section):
    """From when on how many of the treated users are served by their own arm."""

    after: Annotated[Duration, Field(ge=0)]
    """Time since the beginning of the A/B test."""
    treated_share: Share
    """Share of the treated users that is switched on from then on."""


class _ABTest(Section):
    duration: PositiveDuration = parse_duration("7d")
    """Length of the experiment, after the warm-up."""
    exclude_first: Annotated[Duration, Field(ge=0)] = 0
    """Beginning of the experiment that the analysis leaves out, so that the novelty of a change does not count."""
    guardrails: tuple[Guardrail, ...] = ()
    """Metrics that no treatment may make worse by more than a margin."""


class PairedABTest(_ABTest):
    """The same users live in each arm's own world, under common keyed draws."""

    design: Literal["paired"] = "paired"
    """Who is compared: the same users in every arm."""
    watch: bool = False
    """Whether to report, for each day, intervals that stay valid however often one looks."""


class SplitABTest(_ABTest):
    """One population in one world, randomised into arms by user."""

    design: Literal["split"]
    """Who is compared: users drawn at random for each arm."""
    shares: dict[str, Share] = {}  # noqa: RUF012 - pydantic copies it for each instance
    """Arm -> share of the users that are not held out; every arm, summing to 1. Empty: equal shares."""
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of all users who stay with the control's model of the warm-up, which is never retrained."""
    ramp: tuple[RampStep, ...] = ()
    """Steps by which treated users are switched on; the control serves them before. Empty: all from the beginning."""
    training: Training = "own"
    """Whose feedback retraining of an arm uses: `own`, what the arm itself served, or `pooled`, everybody's."""
    watch: bool = False
    """Whether to report, for each day, intervals that stay valid however often one looks."""


class SwitchbackABTest(_ABTest):
    """One population in one world, which changes arms as a whole, period by period."""

    design: Literal["switchback"]
    """Who is compared: the same population at different times."""
    period: PositiveDuration = parse_duration("1d")
    """Time between two changes; a block of as many periods as there are arms holds every arm once, in random order."""
    washout: Annotated[Duration, Field(ge=0)] = 0
    """Beginning of each period that the analysis leaves out, while the arm before it still acts."""
    training: Training = "own"
    """Whose feedback retraining of an arm uses: `own`, what the arm itself served, or `pooled`, everybody's."""


ABTest = Annotated[
    Annotated[PairedABTest, Tag("design=paired")]
    | Annotated[SplitABTest, Tag("design=split")]
    | Annotated[SwitchbackABTest, Tag("design=switchback")],
    chosen_by("design", "paired", "split", "switchback"),
]
MixedABTest = SplitABTest | SwitchbackABTest
"""Designs in which the arms share one world."""
