"""The keyed draws against published vectors, a slow second implementation, and statistics.

The statistical tests have fixed seeds and so a fixed outcome. Each compares its p-values with `FALSE_ALARM` divided by
the number of p-values: a generator without fault fails such a test for one in 100,000 choices of the seed.
"""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from recommenders.base import Int64
from simulator.draws import Draws, Purpose, philox, to_uniform

FALSE_ALARM = 1e-5
MASK = 0xFFFFFFFF

words32 = st.integers(0, MASK)

# Known answers that the authors publish with their library (Random123), philox4x32 with 10 rounds.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def hex_words(text: str) -> tuple[int, ...]:
    return tuple(int(word, 16) for word in text.split())


def slow_philox(counter: tuple[int, ...], key: tuple[int, ...]) -> tuple[int, ...]:
    """One counter, in plain integers, straight from the paper."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high_0, low_0 = divmod(0xD2511F53 * c0, 2**32)
        high_1, low_1 = divmod(0xCD9E8D57 * c2, 2**32)
        c0, c1, c2, c3 = high_1 ^ c1 ^ k0, low_1, high_0 ^ c3 ^ k1, low_0
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return c0, c1, c2, c3


def assert_no_alarm(p_values: list[float]) -> None:
    assert len(p_values) > 0
    assert min(p_values) > FALSE_ALARM / len(p_values)


def correlation_p_value(x: np.ndarray, y: np.ndarray) -> float:
    return float(stats.pearsonr(x.ravel(), y.ravel()).pvalue)


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_philox_gives_the_published_known_answers(counter: str, key: str, expected: str) -> None:
    k0, k1 = hex_words(key)
    column = np.array([hex_words(counter)], dtype=np.uint32).T
    assert tuple(philox(column, (k0, k1))[:, 0]) == hex_words(expected)
    assert slow_philox(hex_words(counter), (k0, k1)) == hex_words(expected)


@given(st.lists(st.tuples(words32, words32, words32, words32), min_size=1, max_size=5), st.tuples(words32, words32))
def test_philox_equals_the_slow_reference(counters: list[tuple[int, ...]], key: tuple[int, int]) -> None:
    fast = philox(np.array(counters, dtype=np.uint32).T, key)
    assert [tuple(map(int, column)) for column in fast.T] == [slow_philox(counter, key) for counter in counters]


@pytest.mark.parametrize("n", [0, 1, 16_383, 16_384, 16_385, 40_000])
def test_the_block_size_is_invisible(n: int) -> None:
    counter = np.zeros((4, n), dtype=np.uint32)
    counter[0] = np.arange(n)
    whole = philox(counter, (1, 2))
    assert whole.shape == (4, n)
    for i in {0, n // 2, n - 1} & set(range(n)):
        assert tuple(map(int, whole[:, i])) == slow_philox((i, 0, 0, 0), (1, 2))


def test_a_purpose_has_a_key_encrypted_by_the_seed() -> None:
    seed, replicate = 0x0123456789ABCDEF, 7
    expected = slow_philox((replicate, Purpose.SESSION, 0, 0), (seed & MASK, seed >> 32))
    assert Draws(seed, replicate).key(Purpose.SESSION) == expected[:2]


@given(
    st.integers(0, 2**64 - 1),
    words32,
    st.sampled_from(Purpose),
    st.lists(words32, min_size=1, max_size=4),
)
def test_words_are_philox_of_the_ids(seed: int, replicate: int, purpose: Purpose, ids: list[int]) -> None:
    draws = Draws(seed, replicate)
    expected = slow_philox(tuple(ids + [0] * (4 - len(ids))), draws.key(purpose))
    assert tuple(map(int, draws.words(purpose, *ids))) == expected


@given(st.lists(st.tuples(words32, words32), min_size=1, max_size=30), st.randoms(use_true_random=False))
def test_neither_order_nor_company_changes_a_draw(ids: list[tuple[int, int]], shuffler: object) -> None:
    draws = Draws(3)
    user, item = np.array(ids, dtype=np.uint32).T
    together = draws.uniform(Purpose.REACTION, user, item)
    order = np.array(sorted(range(len(ids)), key=lambda _: shuffler.random()))  # type: ignore[attr-defined]
    assert np.array_equal(draws.uniform(Purpose.REACTION, user[order], item[order]), together[:, order])
    alone = [draws.uniform(Purpose.REACTION, int(u), int(i)) for u, i in ids]
    assert np.array_equal(np.stack(alone, axis=1), together)


@given(st.integers(0, 4), st.integers(0, 4), st.sampled_from([np.int32, np.int64, np.uint32, np.uint8]))
def test_broadcast_ids_equal_written_out_ids(n: int, k: int, dtype: type) -> None:
    draws = Draws(3)
    user: Int64 = np.arange(n).astype(dtype)[:, None]
    slot: Int64 = np.arange(k).astype(dtype)[None, :]
    broadcast = draws.words(Purpose.ATTENTION, user, 5, slot)
    assert broadcast.shape == (4, n, k)
    users, slots = np.repeat(np.arange(n), k), np.tile(np.arange(k), n)
    assert np.array_equal(broadcast.reshape(4, -1), draws.words(Purpose.ATTENTION, users, np.full(n * k, 5), slots))


def test_ids_are_left_as_they_were() -> None:
    user = np.arange(5, dtype=np.uint32)
    Draws(1).uniform(Purpose.SESSION, user)
    assert user.tolist() == [0, 1, 2, 3, 4]


def test_uniforms_reach_neither_zero_nor_one() -> None:
    ends = to_uniform(np.array([0, 1, 2**31, MASK], dtype=np.uint32))
    assert ends.dtype == np.float64
    assert ends.tolist() == [2**-33, 3 * 2**-33, 0.5 + 2**-33, 1 - 2**-33]


@given(st.lists(words32, min_size=1, max_size=20))
def test_uniforms_are_exact_midpoints(words: list[int]) -> None:
    uniform = to_uniform(np.array(words, dtype=np.uint32))
    assert all(u * 2**33 == 2 * word + 1 for u, word in zip(uniform.tolist(), words, strict=True))


def test_a_seed_for_others_is_a_pure_63_bit_number() -> None:
    seeds = {Draws(1).integer_seed(Purpose.FIT, arm, day) for arm in range(50) for day in range(50)}
    assert len(seeds) == 2_500
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert max(seeds) > 2**62
    assert Draws(1).integer_seed(Purpose.FIT, 3, 4) in seeds


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((-1,), r"seed: got -1, expected an integer in \[0, 2\*\*64\)"),
        ((2**64,), "seed: got 18446744073709551616, expected"),
        ((1, -1), r"replicate: got -1, expected an integer in \[0, 2\*\*32\)"),
        ((1, 2**32), "replicate: got 4294967296, expected"),
    ],
)
def test_seeds_out_of_range_are_refused(arguments: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Draws(*arguments)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ((), "ids: got 0, expected one to four"),
        ((1, 2, 3, 4, 5), "ids: got 5, expected one to four"),
        ((1, np.array([3, -1])), r"ids\[1\]: got values in \[-1, 3\], expected them in \[0, 2\*\*32\)"),
        ((2**32,), r"ids\[0\]: got values in \[4294967296, 4294967296\], expected"),
        ((np.zeros(2, np.int32), np.zeros(3, np.int32)), "shape mismatch"),
    ],
)
def test_ids_out_of_range_are_refused(ids: tuple[object, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Draws(1).words(Purpose.SESSION, *ids)  # type: ignore[arg-type]


def test_each_word_is_uniform() -> None:
    p_values = []
    for seed in range(3):
        uniform = Draws(seed).uniform(Purpose.REACTION, np.arange(300)[:, None], 0, 0, np.arange(300)[None, :])
        for column in uniform.reshape(4, -1):
            p_values.append(float(stats.kstest(column, "uniform").pvalue))
            p_values.append(stats.chisquare(np.bincount((column * 1024).astype(int), minlength=1024)).pvalue)
    assert_no_alarm(p_values)


def test_low_bits_and_high_bits_are_fair() -> None:
    words = Draws(5).words(Purpose.REACTION, np.arange(100_000))
    p_values = [
        stats.binomtest(int(((words[w] >> bit) & 1).sum()), words.shape[1]).pvalue
        for w in range(4)
        for bit in range(32)
    ]
    assert_no_alarm(p_values)


def test_the_four_words_are_independent() -> None:
    words = Draws(6).uniform(Purpose.REACTION, np.arange(100_000))
    p_values = []
    for a, b in combinations(range(4), 2):
        p_values.append(correlation_p_value(words[a], words[b]))
        cell = (words[a] * 32).astype(int) * 32 + (words[b] * 32).astype(int)
        p_values.append(stats.chisquare(np.bincount(cell, minlength=1024)).pvalue)
    assert_no_alarm(p_values)


def test_neighbouring_ids_are_independent() -> None:
    """Neighbours in each of the four ids: linear correlation and a chi-square on pairs."""
    p_values = []
    for place in range(4):
        ids = [np.arange(300)[:, None], 7, 7, np.arange(300)[None, :]]
        ids[place], ids[0] = ids[0], ids[place]
        u = Draws(8).uniform(Purpose.REACTION, *ids)  # type: ignore[arg-type]
        for x, y in ((u[:, 1:], u[:, :-1]), (u[:, :, 1:], u[:, :, :-1])):
            p_values.append(correlation_p_value(x, y))
            cell = (x * 16).astype(int) * 16 + (y * 16).astype(int)
            p_values.append(stats.chisquare(np.bincount(cell.ravel(), minlength=256)).pvalue)
    assert_no_alarm(p_values)


def test_neighbouring_seeds_replicates_and_purposes_are_independent() -> None:
    user = np.arange(50_000)
    families = [
        [Draws(seed).uniform(Purpose.SESSION, user) for seed in (0, 1, 2, 3)],
        [Draws(1 << bit).uniform(Purpose.SESSION, user) for bit in (31, 32, 33, 63)],
        [Draws(0, replicate).uniform(Purpose.SESSION, user) for replicate in (0, 1, 2)],
        [Draws(0).uniform(purpose, user) for purpose in Purpose],
    ]
    assert_no_alarm([correlation_p_value(x, y) for family in families for x, y in pairwise(family)])


def test_all_purposes_have_different_keys() -> None:
    keys = {Draws(seed, replicate).key(p) for seed in range(20) for replicate in range(5) for p in Purpose}
    assert len(keys) == 20 * 5 * len(Purpose)


def test_birthday_spacings_repeat_as_often_as_they_should() -> None:
    """Marsaglia's test: spacings of n birthdays in m days repeat Poisson(n**3 / 4 m) often; summed over many years."""
    n, years = 512, 400
    days_log2 = 24
    words = Draws(9).words(Purpose.USER_TRAITS, np.arange(years)[:, None], np.arange(n)[None, :])
    p_values = []
    for word in words:
        birthdays = np.sort(word >> (32 - days_log2), axis=1)
        spacings = np.sort(np.diff(birthdays, axis=1), axis=1)
        repeats = int((np.diff(spacings, axis=1) == 0).sum())
        mean = years * n**3 / 2 ** (days_log2 + 2)
        p_values.append(2 * min(stats.poisson.cdf(repeats, mean), stats.poisson.sf(repeats - 1, mean)))
    assert_no_alarm(p_values)


def test_a_flipped_input_bit_flips_half_of_the_output_bits() -> None:
    """Avalanche: the number of flipped bits over many counters is binomial(32 * 4 * n, 1/2) for each input bit."""
    n = 500
    counter = Draws(11).words(Purpose.KEY, np.arange(n))
    base = philox(counter, (1, 2))
    p_values = []
    for word in range(4):
        for bit in range(0, 32, 5):
            flipped = counter.copy()
            flipped[word] ^= np.uint32(1 << bit)
            changed = int(np.bitwise_count(philox(flipped, (1, 2)) ^ base).sum())
            p_values.append(stats.binomtest(changed, base.size * 32).pvalue)
    assert_no_alarm(p_values)
