"""The design of an A/B test in words: who was randomised, whose feedback trains, what is left out."""

from __future__ import annotations

from simulator.scenario.ab_tests import PairedABTest, SplitABTest, SwitchbackABTest
from simulator.scenario.durations import format_duration
from simulator.scenario.schema import Scenario


def describe_design(scenario: Scenario) -> str:
    """The design in a few sentences; empty without an A/B test."""
    settings = scenario.ab_test
    if settings is None:
        return ""
    sentences = _who(scenario, settings)
    sentences.append(_training(scenario, settings))
    if settings.exclude_first:
        sentences.append(f"The first {format_duration(settings.exclude_first)} is left out of the analysis.")
    return " ".join(sentences)


def _who(scenario: Scenario, settings: PairedABTest | SplitABTest | SwitchbackABTest) -> list[str]:
    n_users = f"{scenario.world.population.users:,} users"
    if isinstance(settings, SplitABTest):
        return _who_in_split(scenario, settings, n_users)
    if isinstance(settings, SwitchbackABTest):
        period, arms = format_duration(settings.period), len(scenario.arms)
        sentences = [
            f"Switchback: all {n_users} live in one world, which changes arms every {period}; each block of {arms} "
            "periods holds every arm once, in random order. Blocks are the units of the analysis, not users."
        ]
        if settings.washout:
            sentences.append(f"The first {format_duration(settings.washout)} of each period is left out.")
        return sentences
    return [f"Paired: the same {n_users} live in each arm's own world, under the same random draws."]


def _who_in_split(scenario: Scenario, settings: SplitABTest, n_users: str) -> list[str]:
    names = [arm.name for arm in scenario.arms]
    shares = settings.shares or dict.fromkeys(names, 1 / len(names))
    listed = ", ".join(f"{name} {100 * shares[name]:.3g}%" for name in names)
    sentences = [
        f"Split: {n_users} live in one world, randomised into arms ({listed}); effects compare different users."
    ]
    if settings.holdout:
        sentences.append(
            f"Before that {100 * settings.holdout:.3g}% of all users are held out: the control's model of the warm-up "
            "serves them throughout."
        )
    if settings.ramp:
        steps = ", ".join(f"{100 * s.treated_share:.3g}% after {format_duration(s.after)}" for s in settings.ramp)
        sentences.append(
            f"Treated users are switched on by steps ({steps}) and served by the control before; they count for their "
            "own arm throughout (intention to treat)."
        )
    return sentences


def _training(scenario: Scenario, settings: PairedABTest | SplitABTest | SwitchbackABTest) -> str:
    every = scenario.platform.retrain_every
    if every is None:
        return "No arm retrains, so that nobody's feedback changes what others see."
    opening = f"Each arm retrains every {format_duration(every)}"
    if isinstance(settings, PairedABTest):
        return f"{opening} on the feedback of its own world."
    if settings.training == "pooled":
        return f"{opening} on everybody's feedback, so that arms learn from what other arms showed."
    return f"{opening} on the warm-up and on the feedback to what it served itself."
