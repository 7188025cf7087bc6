from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import torch

from recommenders.base import Feedback, Int32, Interactions, Scorer
from recommenders.labels import NegativeWeights
from recommenders.neighbours.csrec import CsRecConfig, SoftLabels, build_teacher, share_of_users
from recommenders.network import Network
from recommenders.objective import Batch
from recommenders.registry import build
from recommenders.sampling import Negatives, sampled_logits
from recommenders.sasrec import SasRecEncoder
from recommenders.sequences import training_windows
from tests.recommenders.cases import SMALL, make_items, make_log, make_requests

CANDIDATE = torch.arange(40)


def network(seed: int) -> Network:
    config = CsRecConfig.model_validate({**SMALL, "dropout": 0.0})
    generator = torch.Generator().manual_seed(seed)
    made = Network(config, make_items(), lambda _, generator: SasRecEncoder(config, generator), generator)
    made.mark_seen(make_log().item)
    return made


def objective(**settings: object) -> SoftLabels:
    config = CsRecConfig.model_validate({**SMALL, "dropout": 0.0, **settings})
    windows = training_windows(make_log(), config.window)
    return SoftLabels(
        network(0), [network(1), network(2)], config, windows, CANDIDATE, torch.Generator().manual_seed(1)
    )


def everything(made: SoftLabels) -> tuple[Batch, torch.Tensor, Negatives]:
    """All positions, the positive ones among them, and negatives that hit some labels."""
    label, weight = made.data.label.flatten(), made.data.weight.flatten()
    embedding = made.network.embedding().detach()
    state = torch.randn(len(label), embedding.shape[1], generator=torch.Generator().manual_seed(3))
    batch = Batch(state, embedding, torch.randn(len(embedding)), label, weight)
    return batch, (weight > 0).nonzero().squeeze(1), Negatives(torch.arange(0, 40, 3), torch.zeros(14))


def test_the_loss_is_that_of_soft_labels_up_to_their_entropy() -> None:
    for share in (0.0, 0.3, 1.0):
        made = objective(soft_label_weight=share)
        batch, positive, negative = everything(made)
        rows = torch.arange(len(made))
        with torch.no_grad():
            loss = float(made.loss(batch, rows, positive, negative))
            soft = made.soft_label(batch, rows, positive, negative).double()
            one_hot = torch.zeros_like(soft).index_fill(1, torch.tensor([0]), 1.0)
            q = (one_hot + soft) / 2
            log_p = sampled_logits(*batch.scored(positive), negative.item).double().log_softmax(1)
            divergence = torch.where(q > 0, q * (q.log() - log_p), 0).sum(1)
            entropy = -torch.where(q > 0, q * q.log(), 0).sum(1)
            expected = (1 - share) * -log_p[:, 0] + share * (divergence + entropy)
        np.testing.assert_allclose(loss, float(expected.sum()), rtol=1e-5)


def test_soft_labels_are_the_mean_of_the_teachers_softmaxes() -> None:
    made = objective(temperature=2.0)
    batch, positive, negative = everything(made)
    soft = made.soft_label(batch, torch.arange(len(made)), positive, negative)
    np.testing.assert_allclose(soft.sum(1).numpy(), 1, rtol=1e-5)
    hit = batch.label[positive][:, None] == negative.item
    assert hit.any()
    assert bool((soft[:, 1:][hit] == 0).all())
    data, one = made.data, int(positive[5])
    row, t = divmod(one, data.item.shape[1])
    expected = np.zeros(1 + len(negative.item))
    with torch.no_grad():
        for teacher in made.teachers:
            v = teacher.embedding()
            state = teacher.states(v, data.item[[row]], data.combination[[row]], data.length[[row]])[0, t]
            z = (v @ state + teacher.bias().squeeze(1))[torch.cat([batch.label[one : one + 1], negative.item])]
            z[1:][hit[5]] = -torch.inf
            expected += (z / 2).softmax(0).numpy() / 2
    np.testing.assert_allclose(soft[5].numpy(), expected, rtol=1e-4, atol=1e-6)


def test_without_soft_labels_it_is_the_attention_model() -> None:
    model, plain = build("csrec", {**SMALL, "soft_label_weight": 0.0}), build("sasrec", SMALL)
    for one in (model, plain):
        one.fit(make_log(), make_items(), seed=2)
    ours, theirs = model.state_dict(), plain.state_dict()
    assert all(ours[name].tobytes() == theirs[name].tobytes() for name in theirs)


def test_a_data_level_teacher_sees_whole_users() -> None:
    log = make_log()
    part = share_of_users(log, 0.5, np.random.default_rng(1))
    assert len(np.unique(part.user)) == 15
    for user in np.unique(part.user):
        assert (part.item[part.user == user] == log.item[log.user == user]).all()


def test_teachers_share_the_students_settings() -> None:
    config = CsRecConfig(dim=24, heads=2, window=9, warm_start=True, negative_weight=NegativeWeights(dislike=2))
    for kind in ("sasrec", "gru4rec"):
        given = build_teacher(kind, config).config
        for name in set(type(given).model_fields) - {"warm_start"}:
            assert getattr(given, name) == getattr(config, name)
        assert not given.warm_start


def test_progress_covers_teachers_and_student() -> None:
    told: list[tuple[int, int]] = []
    build("csrec", SMALL).fit(make_log(), make_items(), seed=1, progress=lambda done, total: told.append((done, total)))
    assert all(a <= b for (a, _), (b, _) in itertools.pairwise(told))
    assert told[-1] == (3000, 3000)


def ring(seed: int, n_users: int) -> Int32:
    """Histories in which 6 of 10 items are the one after the last on a ring of 20, and the others are noise."""
    rng = np.random.default_rng(seed)
    item = rng.integers(20, size=(n_users, 13))
    for t in range(1, 13):
        item[:, t] = np.where(rng.random(n_users) < 0.4, item[:, t], (item[:, t - 1] + 1) % 20)
    return item.astype(np.int32)


def successors_found(seed: int, beta: float) -> float:
    """Share of new histories for which the item that scores highest is the one after the last on the ring."""
    settings = {"window": 12, "dim": 16, "dropout": 0.0, "item_parts": ["id"], "filter_viewed": False}
    training = {"negatives": 0, "batch_size": 40, "epochs": 40, "learning_rate": 0.02}
    model = build("csrec", {**settings, **training, "soft_label_weight": beta})
    assert isinstance(model, Scorer)
    item = ring(seed, 40)
    liked = np.full(item.size, Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8)
    tick = np.repeat(np.arange(13, dtype=np.int64), 40)
    user = np.tile(np.arange(40, dtype=np.int32), 13)
    log = Interactions(tick, user, item.T.ravel(), liked, np.ones(item.size, np.float32))
    model.fit(log, make_items(20), seed=seed)
    new = ring(1000 + seed, 200)[:, -12:]
    asked = replace(
        make_requests(n=200, width=12, n_items=20),
        history_item=new,
        history_feedback=np.full(new.shape, Feedback.EXAMINED | Feedback.LONG_DWELL, np.uint8),
    )
    return float((model.scores(asked).argmax(1) == (new[:, -1] + 1) % 20).mean())


def test_soft_labels_help_against_noise() -> None:
    for seed in (0, 1):
        assert successors_found(seed, 1.0) > successors_found(seed, 0.0) + 0.08
