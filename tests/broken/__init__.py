"""Recommenders that break the contract, each by one fault that an author may well make.

A class's docstring tells the fault, and often what its author thought.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tests.broken import batches, behaviour, caches, costs, fitting, randomness, slates, states

_CONTRACT: Mapping[str, Sequence[type[Any]]] = {
    "check_rows_do_not_depend_on_the_batch": [
        batches.TrendingInTheBatch,
        batches.StandardisedOverTheBatch,
        batches.OneDrawForAll,
    ],
    "check_later_interactions_change_no_earlier_answer": [batches.LatestHistoryOfTheUser],
    "check_nothing_before_the_window_matters": [batches.ReadsTheWholeHistory],
    "check_memory_layout_does_not_matter": [batches.NeedsContiguousArrays],
    "check_shorter_slates_begin_longer_ones": [batches.BestInOrderOfId],
    "check_global_random_states_do_not_matter": [randomness.NoiseBetweenTies],
    "check_fitting_leaves_global_random_states_alone": [randomness.GlobalInitialisation],
    "check_a_refit_agrees": [randomness.IgnoresItsSeed, fitting.AddsUp],
    "check_the_same_call_twice_gives_the_same": [randomness.DropoutLeftOn],
    "check_a_fresh_process_answers_alike": [randomness.HashedCreators, randomness.EveningItems],
    "check_propensities_are_frequencies": [randomness.SharperThanStated, randomness.StatesWeights],
    "check_loading_replaces_what_was_there": [caches.StaleAfterLoad],
    "check_any_order_of_calls": [caches.StaleAfterFit],
    "check_instances_share_nothing": [caches.SharedByTheClass],
    "check_earlier_calls_change_nothing": [caches.CachedByUser, caches.CachedByLength],
    "check_serving_keeps_no_memory": [caches.NeverForgets],
    "check_answers_are_not_modified_later": [caches.ReusesItsBuffer],
    "check_slates_are_valid": [
        slates.RepeatsAtTheTail,
        slates.IneligibleWhenFewAreLeft,
        slates.DoublePrecision,
        slates.LongIntegers,
        slates.MeanOfNothing,
        slates.HalfPrecision,
    ],
    "check_too_few_eligible_items_are_an_error": [slates.PadsTheSlate],
    "check_requests_are_not_modified": [slates.HidesInPlace, slates.ClipsItsPadding],
    "check_serving_unfitted_is_an_error": [slates.ServesUnfitted],
    "check_fit_modifies_neither_log_nor_catalogue": [fitting.ShufflesTheLog],
    "check_item_numbers_are_only_names": [fitting.ZeroIsPadding, fitting.PaddingIsTheLastItem],
    "check_user_numbers_are_only_names": [fitting.BucketsByUserNumber],
    "check_only_differences_of_time_matter": [fitting.TimeInSinglePrecision],
    "check_any_catalogue_can_be_fitted": [fitting.OneItemIsTooFew],
    "check_any_log_can_be_fitted": [fitting.ReadsTheFirstRow],
    "check_progress_changes_nothing": [fitting.CountsFromOne],
    "check_any_seed_can_be_fitted": [fitting.ShortSeeds],
    "check_a_loaded_state_answers_alike": [states.ForgetsAnArray],
    "check_states_given_out_are_copies": [states.GivesItsOwnArray],
    "check_states_taken_over_are_copied": [states.KeepsTheGivenArray],
    "check_a_state_is_plain_arrays": [states.Pickled],
    "check_a_state_of_another_catalogue_is_an_error": [states.TakesAnyCatalogue],
    "check_an_incomplete_state_is_an_error": [states.TakesHalfAState],
    "check_a_state_before_fitting_is_an_error": [states.StateOfNothing],
    "check_fitting_goes_on_from_a_loaded_state": [states.WarmButForgetful],
    "check_serving_memory_is_linear_in_the_batch": [costs.ComparesAllPairs],
    "check_serving_time_is_linear_in_the_batch": [costs.FindsRequestsInAList],
    "check_fitting_time_is_nearly_linear_in_the_log": [costs.NumbersUsersByAList],
}

BROKEN: Mapping[str, Sequence[type[Any]]] = {
    check: (*_CONTRACT.get(check, ()), *behaviour.BROKEN.get(check, ())) for check in {**_CONTRACT, **behaviour.BROKEN}
}
"""Name of a check -> the recommenders that it must catch."""
