"""Laws of cost: time and memory grow no faster than a simulation can bear.

Each compares two sizes, one sixteen or eight times the other, so that a quadratic cost stands out by as much whatever
the machine. Time is that of the process, the best of several; a law is broken only where every measurement says so.
"""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from time import process_time

import numpy as np

from recommenders.base import Requests
from recommenders.conformance.laws import NotApplicableError, check
from recommenders.conformance.subject import Fitted, Subject, Violation, fit
from recommenders.conformance.worlds import Ask, Catalogue, Log

K = 5
ATTEMPTS = 3
REPEATS = 3

SMALL_BATCH, LARGE_BATCH = 256, 4_096
MOST_SLOWDOWN = 4.0
"""A request of the large batch may take so many times as long as one of the small batch; quadratic time: 16."""
MOST_MEMORY = 2.0
"""The same of the memory a request; quadratic memory: 16."""

CALLS, REQUESTS_A_CALL = 40, 16
MOST_KEPT_BYTES = 64
"""Memory that may be kept of a request, as the noise of the measurement."""

FIT_GROWTH = 8
MOST_FIT_SLOWDOWN = 3.0
"""A row of the long log may take so many times as long as one of the short log; n log n: about 1.3, quadratic: 8."""
LONG_ENOUGH_SECONDS = 0.05
"""The short fit is measured on more rows until the long one takes as long."""
MOST_ROWS = 16_000
TOO_LONG_SECONDS = 8.0


@check("cost")
def check_serving_time_is_linear_in_the_batch(subject: Subject) -> None:
    """A request takes no longer in a batch of 4,096 than in one of 256, give or take a factor of 4."""
    fitted = subject.fitted()
    small, large = _batch(fitted, SMALL_BATCH), _batch(fitted, LARGE_BATCH)
    slowdown = _least_ratio(
        lambda: _seconds(lambda: fitted.slates(small, K)),
        lambda: _seconds(lambda: fitted.slates(large, K)),
        LARGE_BATCH / SMALL_BATCH,
        MOST_SLOWDOWN,
    )
    if slowdown > MOST_SLOWDOWN:
        raise Violation(
            f"a request takes {slowdown:.1f} times as long in a batch of {LARGE_BATCH} as in one of {SMALL_BATCH}, "
            f"expected at most {MOST_SLOWDOWN:g} times"
        )


@check("cost")
def check_serving_memory_is_linear_in_the_batch(subject: Subject) -> None:
    """A request needs no more memory in a batch of 4,096 than in one of 256, give or take a factor of 2.

    Counted is what Python and numpy allocate; torch does not tell.
    """
    fitted = subject.fitted()
    small, large = (_peak_bytes(fitted, _batch(fitted, n)) / n for n in (SMALL_BATCH, LARGE_BATCH))
    if large > MOST_MEMORY * small:
        raise Violation(
            f"a request needs {large:.0f} bytes in a batch of {LARGE_BATCH} and {small:.0f} in one of {SMALL_BATCH}, "
            f"expected at most {MOST_MEMORY:g} times as much"
        )


@check("cost")
def check_serving_keeps_no_memory(subject: Subject) -> None:
    """Memory does not grow with the number of requests that were answered.

    Counted is what Python and numpy allocate; torch does not tell.
    """
    fitted = subject.fit()
    tracemalloc.start()
    try:
        in_use = []
        for call in range(2 * CALLS):
            if call % CALLS == 0:
                gc.collect()
                in_use.append(tracemalloc.get_traced_memory()[0])
            fitted.slates(_batch(fitted, REQUESTS_A_CALL, call), K)
        gc.collect()
        # What the first half keeps may be there to stay: buffers, tables that are made on first use.
        kept = (tracemalloc.get_traced_memory()[0] - in_use[1]) / (CALLS * REQUESTS_A_CALL)
    finally:
        tracemalloc.stop()
    if kept > MOST_KEPT_BYTES:
        raise Violation(
            f"{kept:.0f} bytes are kept of every request that was answered, expected none (at most {MOST_KEPT_BYTES})"
        )


@check("cost")
def check_fitting_time_is_nearly_linear_in_the_log(subject: Subject) -> None:
    """A row takes no longer to fit in a log eight times as long, give or take a factor of 3: n log n rows may do.

    The longer log has more users, each with as many rows.
    """
    n_rows = 250
    while n_rows < MOST_ROWS and (seconds := _fit_seconds(subject, n_rows * FIT_GROWTH)) < LONG_ENOUGH_SECONDS:
        n_rows *= 4
    if seconds > TOO_LONG_SECONDS:
        raise NotApplicableError(f"takes more than {TOO_LONG_SECONDS:g} s to fit, too slow to be measured")
    slowdown = _least_ratio(
        lambda: _fit_seconds(subject, n_rows),
        lambda: _fit_seconds(subject, n_rows * FIT_GROWTH),
        FIT_GROWTH,
        MOST_FIT_SLOWDOWN,
    )
    if slowdown > MOST_FIT_SLOWDOWN:
        raise Violation(
            f"a row takes {slowdown:.1f} times as long to fit in a log of {n_rows * FIT_GROWTH} rows as in one of "
            f"{n_rows}, expected at most {MOST_FIT_SLOWDOWN:g} times"
        )


def _batch(fitted: Fitted, n: int, number: int = 0) -> Requests:
    """Requests of `n` different users, of a number of their own for each batch; the histories recur after a while."""
    width = fitted.recommender.traits.history_length
    asks = [
        Ask([((i * (user + 1) + number) % 41, 3 if i % 3 else 17) for i in range(user % (width + 1))])
        for user in range(64)
    ]
    tiled = fitted.requests(asks).take(np.arange(n) % len(asks))
    user = np.arange(n, dtype=np.int32) + number * n
    return replace(tiled, user=user)


def _least_ratio(small: Callable[[], float], large: Callable[[], float], growth: float, most: float) -> float:
    """How many times as long the large one takes, for its size, as the small one.

    Args:
        small, large: take a measurement in seconds.
        growth: how many times as large the large one is.
        most: a ratio that is good enough to measure no more.
    """
    least = np.inf
    for _ in range(ATTEMPTS):
        seconds = [min(measured() for _ in range(REPEATS)) for measured in (small, large)]
        least = min(least, seconds[1] / seconds[0] / growth)
        if least <= most:
            break
    return float(least)


def _seconds(call: Callable[[], object]) -> float:
    started = process_time()
    call()
    return process_time() - started


def _fit_seconds(subject: Subject, n_rows: int) -> float:
    recommender, catalogue = subject.build(), Catalogue()
    log, items = Log(0, max(1, n_rows // 20), n_rows).interactions(catalogue), catalogue.features()
    return _seconds(lambda: fit(recommender, log, items))


def _peak_bytes(fitted: Fitted, asked: Requests) -> int:
    fitted.slates(asked, K)  # what is made once, at the first call, is not counted
    gc.collect()
    tracemalloc.start()
    try:
        fitted.slates(asked, K)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
