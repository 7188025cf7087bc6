"""Every broken recommender is caught by the check that is there for it, with an example that is code."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from recommenders.conformance import CHECKS, Subject, Violation, run_check
from tests.broken import batches, caches, costs, fitting, randomness, slates, states
from tests.broken.counted import Counted, Drawn

CAUGHT_BY: dict[type[Any], str] = {
    batches.TrendingInTheBatch: "check_rows_do_not_depend_on_the_batch",
    batches.StandardisedOverTheBatch: "check_rows_do_not_depend_on_the_batch",
    batches.OneDrawForAll: "check_rows_do_not_depend_on_the_batch",
    batches.LatestHistoryOfTheUser: "check_later_interactions_change_no_earlier_answer",
    batches.ReadsTheWholeHistory: "check_nothing_before_the_window_matters",
    batches.NeedsContiguousArrays: "check_memory_layout_does_not_matter",
    batches.BestInOrderOfId: "check_shorter_slates_begin_longer_ones",
    randomness.NoiseBetweenTies: "check_global_random_states_do_not_matter",
    randomness.GlobalInitialisation: "check_fitting_leaves_global_random_states_alone",
    randomness.IgnoresItsSeed: "check_a_refit_agrees",
    randomness.DropoutLeftOn: "check_the_same_call_twice_gives_the_same",
    randomness.HashedCreators: "check_a_fresh_process_answers_alike",
    randomness.EveningItems: "check_a_fresh_process_answers_alike",
    randomness.SharperThanStated: "check_propensities_are_frequencies",
    randomness.StatesWeights: "check_propensities_are_frequencies",
    caches.StaleAfterLoad: "check_loading_replaces_what_was_there",
    caches.StaleAfterFit: "check_any_order_of_calls",
    caches.SharedByTheClass: "check_instances_share_nothing",
    caches.CachedByUser: "check_earlier_calls_change_nothing",
    caches.CachedByLength: "check_earlier_calls_change_nothing",
    caches.NeverForgets: "check_serving_keeps_no_memory",
    caches.ReusesItsBuffer: "check_answers_are_not_modified_later",
    slates.RepeatsAtTheTail: "check_slates_are_valid",
    slates.IneligibleWhenFewAreLeft: "check_slates_are_valid",
    slates.DoublePrecision: "check_slates_are_valid",
    slates.LongIntegers: "check_slates_are_valid",
    slates.MeanOfNothing: "check_slates_are_valid",
    slates.HalfPrecision: "check_slates_are_valid",
    slates.PadsTheSlate: "check_too_few_eligible_items_are_an_error",
    slates.HidesInPlace: "check_requests_are_not_modified",
    slates.ClipsItsPadding: "check_requests_are_not_modified",
    slates.ServesUnfitted: "check_serving_unfitted_is_an_error",
    fitting.AddsUp: "check_a_refit_agrees",
    fitting.ShufflesTheLog: "check_fit_modifies_neither_log_nor_catalogue",
    fitting.ZeroIsPadding: "check_item_numbers_are_only_names",
    fitting.PaddingIsTheLastItem: "check_item_numbers_are_only_names",
    fitting.BucketsByUserNumber: "check_user_numbers_are_only_names",
    fitting.TimeInSinglePrecision: "check_only_differences_of_time_matter",
    fitting.OneItemIsTooFew: "check_any_catalogue_can_be_fitted",
    fitting.ReadsTheFirstRow: "check_any_log_can_be_fitted",
    fitting.CountsFromOne: "check_progress_changes_nothing",
    fitting.ShortSeeds: "check_any_seed_can_be_fitted",
    states.ForgetsAnArray: "check_a_loaded_state_answers_alike",
    states.GivesItsOwnArray: "check_states_given_out_are_copies",
    states.KeepsTheGivenArray: "check_states_taken_over_are_copied",
    states.Pickled: "check_a_state_is_plain_arrays",
    states.TakesAnyCatalogue: "check_a_state_of_another_catalogue_is_an_error",
    states.TakesHalfAState: "check_an_incomplete_state_is_an_error",
    states.StateOfNothing: "check_the_state_of_the_unfitted_is_an_error",
    states.WarmButForgetful: "check_fitting_goes_on_from_a_loaded_state",
    costs.ComparesAllPairs: "check_serving_memory_is_linear_in_the_batch",
    costs.FindsRequestsInAList: "check_serving_time_is_linear_in_the_batch",
    costs.NumbersUsersByAList: "check_fitting_time_is_nearly_linear_in_the_log",
}


@pytest.mark.parametrize("broken", CAUGHT_BY, ids=lambda broken: broken.__name__)
def test_it_is_caught_and_the_example_is_code(broken: type[Any]) -> None:
    outcome = run_check(CHECKS[CAUGHT_BY[broken]], Subject(broken))
    assert outcome.status == "failed"
    with pytest.raises(Violation):
        exec(outcome.code, {})


def test_no_broken_recommender_is_left_out() -> None:
    modules = (batches, caches, costs, fitting, randomness, slates, states)
    defined = {
        found
        for module in modules
        for found in vars(module).values()
        if isinstance(found, type) and found.__module__ == module.__name__
    }
    assert defined == set(CAUGHT_BY)


def test_every_law_of_the_contract_has_a_recommender_that_breaks_it() -> None:
    laws = {check.name for check in CHECKS.values() if check.kind != "behaviour"}
    assert laws - set(CAUGHT_BY.values()) == {"check_large_batches_change_nothing"}


@pytest.mark.parametrize("sound", [Counted, Drawn])
def test_what_they_differ_from_is_sound(sound: type[Any]) -> None:
    subject = Subject(sound)
    for check in CHECKS.values():
        if check.kind != "behaviour":
            outcome = run_check(replace(check, examples=max(1, check.examples // 3)), subject)
            assert outcome.status in {"passed", "skipped"}, outcome
