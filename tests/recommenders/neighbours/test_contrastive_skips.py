from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from recommenders.base import Feedback, Interactions
from recommenders.neighbours.contrastive_skips import (
    ContrastiveSkipsConfig,
    SessionContrast,
    next_wanted,
    sessions,
)
from recommenders.network import Network
from recommenders.objective import Batch
from recommenders.registry import build
from recommenders.sasrec import SasRecEncoder
from recommenders.sequences import training_windows
from tests.recommenders.cases import SMALL, make_items, make_log
from tests.recommenders.neighbours.planted_tastes import auc_of_tastes

CANDIDATE = torch.arange(40)


@given(seed=st.integers(0, 1000), m=st.integers(2, 12))
def test_next_wanted_equals_a_loop(seed: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    item, wanted = rng.integers(0, 9, (3, m)), rng.random((3, m)) < 0.4
    session = np.cumsum(rng.integers(4, size=(3, m)) // 3, axis=1)
    found = next_wanted(item, wanted, session)
    for row in range(3):
        for t in range(m - 1):
            later = [j for j in range(t + 1, m) if wanted[row, j] and session[row, j] == session[row, t]]
            assert found[row, t] == (item[row, later[0]] if later else -1)


def test_a_longer_pause_starts_a_session() -> None:
    log = Interactions(
        tick=np.array([0, 10, 45, 76, 76]) * 60_000,
        user=np.zeros(5, np.int32),
        item=np.arange(5, dtype=np.int32),
        feedback=np.ones(5, np.uint8),
        dwell_seconds=np.ones(5, np.float32),
    )
    windows = training_windows(log, 6)
    assert sessions(windows, 30)[0, :5].tolist() == [0, 0, 1, 2, 2]
    assert sessions(windows, None)[0, :5].tolist() == [0, 0, 0, 0, 0]


def pauses(log: Interactions) -> Interactions:
    """Users come about once in 30 s; now and then they stay away for an hour."""
    gap = np.random.default_rng(5).choice([1_000, 3_600_000], len(log), p=[0.99, 0.01])
    return replace(log, tick=np.cumsum(gap))


def objective(log: Interactions, **settings: object) -> SessionContrast:
    config = ContrastiveSkipsConfig.model_validate({**SMALL, "dropout": 0.0, **settings})
    generator = torch.Generator().manual_seed(1)
    network = Network(config, make_items(), lambda _, generator: SasRecEncoder(config, generator), generator)
    network.mark_seen(log.item)
    return SessionContrast(network, config, training_windows(log, config.window), CANDIDATE, generator)


def batch_of(made: SessionContrast) -> Batch:
    """All rows, with random states."""
    label, weight = made.data.label.flatten(), made.data.weight.flatten()
    embedding = made.network.embedding().detach()
    state = torch.randn(len(label), embedding.shape[1], generator=torch.Generator().manual_seed(3))
    return Batch(state, embedding, torch.zeros(len(embedding)), label, weight)


def info_nce_slowly(log: Interactions, made: SessionContrast, batch: Batch, flags: Feedback) -> list[float]:
    """From the windows, one position after the other."""
    window = made.settings.window
    windows = training_windows(log, window)
    values = []
    for row in range(len(windows)):
        n = int((windows.item[row] >= 0).sum())
        item = [windows.item[row, 0], *windows.next_item[row, :n]]
        feedback = [windows.feedback[row, 0], *windows.next_feedback[row, :n]]
        session = np.concatenate([[0], np.cumsum(windows.next_gap_seconds[row, :n] > 30 * 60)])
        rejected = [bool(f & flags) for f in feedback]
        explicit = int(flags & (Feedback.DISLIKE | Feedback.DISMISS))
        wanted = [bool(f & (Feedback.LONG_DWELL | Feedback.LIKE)) and not f & explicit for f in feedback]
        for t in range(n):
            same = [j for j in range(n + 1) if session[j] == session[t]]
            later = [j for j in same if j > t and wanted[j]]
            if rejected[t] or not later:
                continue
            y = item[later[0]]
            skips = [item[j] for j in same if rejected[j] and item[j] != y]
            if skips:
                state = batch.state[row * window + t]
                vector = batch.embedding[torch.tensor([y, *skips])]
                logit = functional.cosine_similarity(vector, state[None], dim=1) / made.settings.temperature
                values.append(float(logit.logsumexp(0) - logit[0]))
    return values


def test_the_contrast_equals_a_loop() -> None:
    for kinds, flags in ((("skip",), Feedback.SKIP), (("skip", "dislike"), Feedback.SKIP | Feedback.DISLIKE)):
        log = pauses(make_log())
        made = objective(log, contrasted=kinds)
        batch = batch_of(made)
        expected = info_nce_slowly(log, made, batch, flags)
        got = made.info_nce(batch, torch.arange(len(made)))
        assert len(expected) > 30
        np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-6)


def test_what_is_not_contrasted_pushes_nothing() -> None:
    log = make_log()
    no_skips = replace(log, feedback=log.feedback & ~np.uint8(Feedback.SKIP))
    made = objective(no_skips)
    assert len(made.info_nce(batch_of(made), torch.arange(len(made)))) == 0
    dislikes = objective(no_skips, contrasted=["dislike"])
    assert len(dislikes.info_nce(batch_of(dislikes), torch.arange(len(dislikes)))) > 0


def test_without_the_contrast_it_is_the_attention_model() -> None:
    model, plain = build("contrastive_skips", {**SMALL, "contrast_weight": 0.0}), build("sasrec", SMALL)
    for one in (model, plain):
        one.fit(make_log(), make_items(), seed=2)
    ours, theirs = model.state_dict(), plain.state_dict()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_the_contrast_lowers_rejected_items() -> None:
    for kind, flag in (("skip", Feedback.SKIP), ("dislike", Feedback.DISLIKE)):
        plain = auc_of_tastes("contrastive_skips", {"contrasted": [kind], "contrast_weight": 0.0}, flag)
        assert auc_of_tastes("contrastive_skips", {"contrasted": [kind]}, flag) > plain + 0.1
