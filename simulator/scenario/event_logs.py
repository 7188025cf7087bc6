"""Settings of the event log: what of it is written, and whether a run holds it in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from simulator.scenario.ab_tests import SwitchbackABTest
from simulator.scenario.durations import TICKS_PER_DAY
from simulator.scenario.settings import Section

if TYPE_CHECKING:
    from simulator.scenario.schema import Scenario

LogColumn = Literal[
    "tick", "user", "session", "step", "slot", "item", "feedback", "dwell_seconds", "feedback_tick", "propensity",
    "satisfaction", "dislike_probability",
]  # fmt: skip

MOST_USER_DAYS = 1_000_000
"""Users times days that `stream: auto` holds in memory: some 70 million impressions, or 4 GB, in each arm."""


class EventLogs(Section):
    """What is written of the event logs. Estimates and hashes are of all columns of all users, whatever is written."""

    columns: tuple[LogColumn, ...] = ()
    """Columns to write, beside the arm; empty: all."""
    user_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of the users whose impressions are written: a draw for each user, the same in all arms."""
    stream: Literal["auto", "always", "never"] = "auto"
    """Whether arms write their logs while users live, in place of holding them in memory. `auto`: from a million users
    times days (warm-up and A/B test) on, where there is an A/B test that is not watched."""


def streams(scenario: Scenario) -> bool:
    """Whether a run of the scenario streams its logs; it follows from the scenario alone, not from the machine."""
    if scenario.log.stream != "auto":
        return scenario.log.stream == "always"
    ab_test = scenario.ab_test
    if ab_test is None or (not isinstance(ab_test, SwitchbackABTest) and ab_test.watch):
        return False
    ticks = scenario.warm_up + ab_test.duration
    return scenario.world.population.users * ticks >= MOST_USER_DAYS * TICKS_PER_DAY
