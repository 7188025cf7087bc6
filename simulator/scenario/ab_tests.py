"""Settings of an A/B test."""

from __future__ import annotations

from simulator.scenario.durations import parse_duration
from simulator.scenario.settings import PositiveDuration, Section


class PairedABTest(Section):
    """The same users live in each arm's own world, under common keyed draws."""

    duration: PositiveDuration = parse_duration("7d")
    """Length of the experiment, after the warm-up."""
