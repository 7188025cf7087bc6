"""Laws of the fitted state: plain arrays that carry all there is to a model, and share no memory with it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from recommenders.base import Recommender, RecommenderError, Slates, State
from recommenders.conformance import strategies
from recommenders.conformance.laws import NotApplicableError, Strategies, check, must_be_same, must_be_same_state
from recommenders.conformance.subject import Fitted, Subject, Violation, copied, failing_as_violation, fit
from recommenders.conformance.worlds import Ask, Catalogue, Log
from recommenders.registry import build

K = st.integers(1, 10)
SECONDS_OF_A_PROCESS = 300


def _log_and_asks(subject: Subject) -> Strategies:
    asks = strategies.batches(subject.traits.history_length, max_size=3)
    return {"log": strategies.logs(), "asks": asks, "k": K}


@check("state", given=_log_and_asks, fits=True)
def check_a_loaded_state_answers_alike(subject: Subject, *, log: Log, asks: Sequence[Ask], k: int) -> None:
    """A fresh instance that loads a state answers bit for bit like the one that gave it."""
    fitted = subject.fit(log)
    must_be_same(subject.loaded(fitted).ask(asks, k), fitted.ask(asks, k), "after a move of the state")


def _two_logs_and_asks(subject: Subject) -> Strategies:
    return {**_log_and_asks(subject), "before": strategies.logs()}


@check("state", given=_two_logs_and_asks, examples=20, fits=True)
def check_loading_replaces_what_was_there(
    subject: Subject, *, log: Log, before: Log, asks: Sequence[Ask], k: int
) -> None:
    """An instance that was fitted to another log, and served, answers from the state that it loads alone."""
    fitted, used = subject.fit(log), subject.fit(before)
    used.ask(asks, k)
    _load(used.recommender, copied(_state(fitted.recommender)), used.catalogue)
    must_be_same(used.ask(asks, k), fitted.ask(asks, k), "loaded by an instance that had served another model")


def _state(recommender: Recommender) -> State:
    with failing_as_violation("state_dict"):
        return recommender.state_dict()


def _load(recommender: Recommender, state: State, catalogue: Catalogue) -> None:
    with failing_as_violation("load_state_dict"):
        recommender.load_state_dict(state, catalogue.features())


@check("state")
def check_a_state_is_plain_arrays(subject: Subject) -> None:
    """A state maps names to numpy arrays of numbers or truth values, so that it can be saved without pickling."""
    for name, value in _state(subject.fitted().recommender).items():
        if not isinstance(name, str):
            raise Violation(f"state: got the name {name!r}, expected a string")
        if not isinstance(value, np.ndarray):
            raise Violation(f"state: {name}: got {type(value).__name__}, expected a numpy array")
        if value.dtype.kind not in "biuf" or value.dtype.itemsize > 8 or not value.dtype.isnative:
            raise Violation(
                f"state: {name}: got dtype {value.dtype}, expected bool, or integers or floats of 8 to 64 bits"
            )


@check("state", given=_two_logs_and_asks, examples=10, fits=True)
def check_instances_share_nothing(subject: Subject, *, log: Log, before: Log, asks: Sequence[Ask], k: int) -> None:
    """Fitting and serving another instance changes no answer of one that was there before."""
    first = subject.fit(before)
    expected = first.ask(asks, k)
    subject.fit(log).ask(asks, k)
    must_be_same(first.ask(asks, k), expected, "after another instance was fitted")


def _asks(subject: Subject) -> Strategies:
    return {"asks": strategies.batches(subject.traits.history_length, max_size=3), "k": K}


@check("state", given=_asks, examples=5, fits=True)
def check_states_given_out_are_copies(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """Writing into a state that was given out changes no answer; serving and fitting on do not change the state."""
    fitted = subject.fit()
    expected = fitted.ask(asks, k)
    given = _state(fitted.recommender)
    kept = copied(given)
    fit(fitted.recommender, Log(1).interactions(fitted.catalogue), fitted.catalogue.features())
    fitted.ask(asks, k)
    must_be_same_state(given, kept, "after serving and another fit, a state given out before")
    fitted = subject.fit()
    _scribble(_state(fitted.recommender))
    must_be_same(fitted.ask(asks, k), expected, "after the caller wrote into the state that it got")


@check("state", given=_asks, examples=5, fits=True)
def check_states_taken_over_are_copied(subject: Subject, *, asks: Sequence[Ask], k: int) -> None:
    """Loading leaves the given arrays as they were, and writing into them afterwards changes no answer."""
    fitted, loaded = subject.fitted(), Fitted(subject.build(), Catalogue())
    given = copied(_state(fitted.recommender))
    kept = copied(given)
    _load(loaded.recommender, given, loaded.catalogue)
    loaded.ask(asks, k)
    must_be_same_state(given, kept, "after loading and serving, the state that was given")
    _scribble(given)
    must_be_same(loaded.ask(asks, k), fitted.ask(asks, k), "after the caller wrote into the state that was loaded")


def _scribble(state: State) -> None:
    for value in state.values():
        if value.flags.writeable:
            value[...] = np.logical_not(value) if value.dtype.kind == "b" else np.add(value, 1)


@check("state", given=lambda subject: {"n_items": st.sampled_from([42, 40, 1, 400])})
def check_a_state_of_another_catalogue_is_an_error(subject: Subject, *, n_items: int) -> None:
    """Loading a state of another number of items raises RecommenderError."""
    state = copied(_state(subject.fitted().recommender))
    if not any(Catalogue().n_items in value.shape for value in state.values()):
        raise NotApplicableError("its state has nothing a row an item")
    other = Catalogue(n_items, min(n_items, 8), min(n_items, 4))
    _must_refuse(subject.build(), state, other, f"of {Catalogue().n_items} items for a catalogue of {n_items}")


@check("state")
def check_an_incomplete_state_is_an_error(subject: Subject) -> None:
    """Loading a state that lacks one of its names raises RecommenderError."""
    state = _state(subject.fitted().recommender)
    if not state:
        raise NotApplicableError("its state is empty")
    for missing in state:
        rest = copied({name: value for name, value in state.items() if name != missing})
        _must_refuse(subject.build(), rest, Catalogue(), f"without {missing!r}")


def _must_refuse(recommender: Recommender, state: State, catalogue: Catalogue, which: str) -> None:
    try:
        recommender.load_state_dict(state, catalogue.features())
    except RecommenderError:
        return
    except Exception as error:
        raise Violation(
            f"a state {which}: load_state_dict raised {type(error).__name__}: {error}; expected RecommenderError"
        ) from error
    raise Violation(f"a state {which}: load_state_dict took it, expected RecommenderError")


@check("state")
def check_a_state_before_fitting_is_an_error(subject: Subject) -> None:
    """`state_dict` before `fit` raises RecommenderError; what learns nothing may give a state that can be loaded."""
    try:
        state = subject.build().state_dict()
    except RecommenderError:
        return
    except Exception as error:
        raise Violation(f"state_dict raised {type(error).__name__}: {error}; expected RecommenderError") from error
    loaded = Fitted(subject.build(), Catalogue())
    _load(loaded.recommender, copied(state), loaded.catalogue)
    loaded.ask([Ask()], 3)


def _starts_from_scratch(subject: Subject) -> str:
    return "" if subject.traits.warm_start else "does not declare `warm_start`"


def _two_logs(subject: Subject) -> Strategies:
    return {"log": strategies.logs(), "before": strategies.logs()}


@check("state", given=_two_logs, examples=10, fits=True, does_not_apply=_starts_from_scratch)
def check_fitting_goes_on_from_a_loaded_state(subject: Subject, *, log: Log, before: Log) -> None:
    """With `warm_start`, a fit after loading a state gives what a fit by the instance that gave it does."""
    original = subject.fit(before)
    loaded = subject.loaded(original)
    for fitted in (original, loaded):
        fit(fitted.recommender, log.interactions(fitted.catalogue), fitted.catalogue.features())
    must_be_same_state(_state(loaded.recommender), _state(original.recommender), "fitted on from a loaded state")


def _has_no_name(subject: Subject) -> str:
    try:
        found = type(build(subject.name, subject.config))
    except RecommenderError as error:
        return f"another process cannot find it: {error}"
    if found is not type(subject.build()) or found.__module__ == "__main__":
        return f"another process cannot find it: {subject.name!r} is not the name of a module and a class"
    return ""


@check("state", does_not_apply=_has_no_name)
def check_a_fresh_process_answers_alike(subject: Subject) -> None:
    """Another process, with other hashes of strings and in another time zone, answers alike from the saved state."""
    fitted = subject.fitted()
    width = subject.traits.history_length
    asks = [
        Ask([((7 * user + i) % 41, 5 if i % 3 else 19) for i in range(user % (width + 1))], user) for user in range(9)
    ]
    expected = fitted.ask(asks, 7)
    with tempfile.TemporaryDirectory() as folder:
        found = _asked_elsewhere(subject, _state(fitted.recommender), asks, 7, Path(folder))
    must_be_same(found, expected, "in a fresh process")


_SCRIPT = """
import numpy as np
from recommenders.conformance import Ask, Catalogue, Fitted, Subject
recommender = {subject!r}.build()
with np.load({state!r}, allow_pickle=False) as arrays:
    state = {{name: arrays[f"arr_{{i}}"] for i, name in enumerate({names!r})}}
recommender.load_state_dict(state, Catalogue().features())
slates = Fitted(recommender, Catalogue()).ask({asks!r}, {k!r})
np.savez({answer!r}, **{{name: value for name, value in vars(slates).items() if value is not None}})
"""


def _asked_elsewhere(subject: Subject, state: State, asks: Sequence[Ask], k: int, folder: Path) -> Slates:
    """The slates that a process of its own gives; files go through `folder`."""
    saved, answer = str(folder / "state.npz"), str(folder / "answer.npz")
    np.savez(saved, *state.values())
    script = _SCRIPT.format(subject=subject, state=saved, names=list(state), asks=list(asks), k=k, answer=answer)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),
        "PYTHONHASHSEED": "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2",
        "TZ": "<+0730>-07:30",
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_OF_A_PROCESS,
        check=False,
    )
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["nothing"]
        raise Violation(f"in a fresh process, which ended with {done.returncode}: {said[-1]}")
    with np.load(answer) as arrays:
        return Slates(arrays["item"], arrays["score"], arrays.get("propensity"))
