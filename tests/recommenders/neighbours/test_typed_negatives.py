"""Real negatives mixed with random ones: the loss is what it says, and it tells liked from disliked."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from recommenders.base import Feedback, Interactions, Requests
from recommenders.neighbours.hard_negative_mixing import HardNegativeMixing
from recommenders.neighbours.typed_negatives import MixedNegatives, TypedNegatives, TypedNegativesConfig
from recommenders.network import Network, combination_of
from recommenders.objective import Batch, training_data
from recommenders.registry import build
from recommenders.sampling import Negatives
from recommenders.sasrec import SasRecEncoder
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import training_windows
from tests.recommenders.cases import SMALL, make_items, make_log

N_CREATORS, N_ITEMS = 80, 400
ITEMS = make_items(N_ITEMS, N_CREATORS, N_CREATORS // 2)
"""Each topic has two creators, 40 apart."""


def rivals_log(seed: int, n_users: int, length: int, rejection: Feedback) -> Interactions:
    """Each user meets the two creators of one topic, likes the items of one and rejects those of the other."""
    rng = np.random.default_rng(seed)
    user = np.tile(np.arange(n_users), length)
    topic, favourite = rng.integers(N_CREATORS // 2, size=n_users), rng.integers(2, size=n_users)
    side = rng.integers(2, size=len(user))
    creator = topic[user] + N_CREATORS // 2 * side
    liked = (side == favourite[user]) == (rng.random(len(user)) < 0.9)
    return Interactions(
        tick=np.repeat(np.arange(length), n_users).astype(np.int64),
        user=user.astype(np.int32),
        item=(creator + N_CREATORS * rng.integers(N_ITEMS // N_CREATORS, size=len(user))).astype(np.int32),
        feedback=np.where(liked, Feedback.EXAMINED | Feedback.LIKE, Feedback.EXAMINED | rejection).astype(np.uint8),
        dwell_seconds=np.ones(len(user), np.float32),
    )


def liked_above_rejected(model: SequenceRecommender, log: Interactions, window: int) -> float:
    """How often an item liked after the first `window` interactions scores above one rejected then by the same user."""
    n_users = int(log.user.max()) + 1
    item, feedback = (column.reshape(-1, n_users).T for column in (log.item, log.feedback))
    zeros = np.zeros(n_users, np.int32)
    requests = Requests(
        user=np.arange(n_users, dtype=np.int32),
        session=zeros,
        step=zeros,
        tick=np.full(n_users, window, np.int64),
        history_item=item[:, :window],
        history_feedback=feedback[:, :window],
        history_dwell_seconds=np.ones((n_users, window), np.float32),
        history_tick=np.tile(np.arange(window), (n_users, 1)),
        eligible=np.ones(N_ITEMS, np.bool_),
    )
    score = np.take_along_axis(model.scores(requests), item[:, window:], 1)
    liked = (feedback[:, window:] & Feedback.LIKE) != 0
    pair = liked[:, :, None] & ~liked[:, None, :]
    return float((score[:, :, None] > score[:, None, :])[pair].mean())


@pytest.mark.parametrize(
    ("name", "rejection"), [("typed_negatives", Feedback.DISLIKE), ("hard_negative_mixing", Feedback.SKIP)]
)
def test_rejected_items_as_negatives_tell_liked_from_rejected(name: str, rejection: Feedback) -> None:
    settings = {"dim": 16, "window": 8, "epochs": 8, "batch_size": 32, "negatives": 8, "learning_rate": 0.01}
    settings |= {"item_parts": ["creator", "topic"], "dropout": 0.0, "blocks": 1}
    accuracy = {}
    for share in (0.0, 0.5):
        model = build(name, settings | {"rejected_share": share})
        assert isinstance(model, TypedNegatives)
        model.fit(rivals_log(0, 200, 24, rejection), ITEMS, seed=0)
        accuracy[share] = liked_above_rejected(model, rivals_log(100, 100, 16, rejection), 8)
    # Over three seeds the difference was between .18 and .29.
    assert accuracy[0.5] > accuracy[0.0] + 0.1
    assert accuracy[0.5] > 0.6


def batch_loss(config: TypedNegativesConfig) -> tuple[MixedNegatives, Batch, Tensor, Negatives]:
    generator = torch.Generator().manual_seed(2)
    network = Network(config, make_items(), lambda _, g: SasRecEncoder(config, g), generator)
    windows = training_windows(make_log(), config.window)
    data = training_data(windows, config, combination_of(config.input_flags()), torch.arange(40))
    rows = torch.arange(12)
    batch = Batch(
        state=torch.randn(12 * config.window, config.dim, generator=generator),
        embedding=torch.randn(40, config.dim, generator=generator),
        bias=torch.randn(40, generator=generator),
        label=data.label[rows].flatten(),
        weight=data.weight[rows].flatten(),
    )
    negative = Negatives(torch.arange(3, 21), torch.zeros(18))
    return MixedNegatives(network, config, data, generator), batch, rows, negative


@pytest.mark.parametrize("hardest_of", [1, 4])
def test_the_loss_equals_its_definition(hardest_of: int) -> None:
    config = TypedNegativesConfig.model_validate(
        {
            **SMALL,
            "negative_weight": {"dislike": 3, "skip": 1},
            "rejected_share": 0.3,
            "reach": 2,
            "hardest_of": hardest_of,
        }
    )
    objective, batch, rows, negative = batch_loss(config)
    window = config.window

    def softplus(x: Tensor) -> float:
        return float(torch.log1p(x.double().exp()))

    expected = 0.0
    for i in torch.nonzero(batch.weight > 0).flatten().tolist():
        label, row = int(batch.label[i]), i // window

        def score(item: int, i: int = i) -> Tensor:
            return batch.state[i] @ batch.embedding[item] + batch.bias[item]

        groups = [negative.item[at : at + hardest_of].tolist() for at in range(0, 18, hardest_of)]
        kept = [[score(item) for item in group if item != label] for group in groups]
        random = np.mean([softplus(torch.stack(group).max()) for group in kept if group])
        near = range(max(row * window, i - 2), min((row + 1) * window, i + 3))
        rejected = [j for j in near if batch.weight[j] < 0 and int(batch.label[j]) != label]
        share = 0.3 if rejected else 0.0
        chance = [-float(batch.weight[j]) for j in rejected]
        real = sum(c * softplus(score(int(batch.label[j]))) for c, j in zip(chance, rejected, strict=True))
        expected += softplus(-score(label)) + (1 - share) * float(random)
        expected += share * real / sum(chance) if rejected else 0.0
    positive = (batch.weight > 0).nonzero().squeeze(1)
    assert float(objective.loss(batch, rows, positive, negative)) == pytest.approx(expected, rel=1e-5)


def test_both_papers_are_one_method_at_two_mixing_rates() -> None:
    rates = {"negative_weight": {"dislike": 2.0, "skip": 1.0}, "rejected_share": 0.25}
    models = [build(name, {**SMALL, **rates}) for name in ("typed_negatives", "hard_negative_mixing")]
    assert isinstance(models[1], HardNegativeMixing)
    for model in models:
        model.fit(make_log(), make_items(), seed=5)
    one, other = (model.state_dict() for model in models)
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])


@pytest.mark.parametrize("setting", [{"negative_share": 0.5}, {"negative_loss": "pairwise"}, {"logq_correction": True}])
def test_settings_that_the_mix_replaces_are_refused(setting: dict[str, object]) -> None:
    with pytest.raises(ValidationError, match="expected it unset: negatives are mixed instead"):
        TypedNegativesConfig.model_validate(setting)
