"""The intent: it is found, it bounds what it says it bounds, and it stays apart from the recommender."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from recommenders.base import Feedback, Interactions
from recommenders.neighbours.latent_intent import (
    Gaussian,
    Intent,
    IntentEncoder,
    IntentObjective,
    LatentIntentConfig,
)
from recommenders.network import Network, combination_of
from recommenders.registry import build
from recommenders.sequences import training_windows
from recommenders.training import train
from tests.recommenders.cases import SMALL, make_items, make_log

N_TOPICS, WINDOW = 8, 12
ITEMS = make_items(80, 80, N_TOPICS)


def moods_log(seed: int, n_users: int, length: int) -> tuple[Interactions, np.ndarray]:
    """Half of what a user meets is of one topic, their mood, int[n_users]; 1 in 20 of those is liked, nothing else."""
    rng = np.random.default_rng(seed)
    user = np.tile(np.arange(n_users), length)
    mood = rng.integers(N_TOPICS, size=n_users)
    topic = np.where(rng.random(len(user)) < 0.5, mood[user], rng.integers(N_TOPICS, size=len(user)))
    liked = (topic == mood[user]) & (rng.random(len(user)) < 0.05)
    log = Interactions(
        tick=np.repeat(np.arange(length), n_users).astype(np.int64),
        user=user.astype(np.int32),
        item=(topic + N_TOPICS * rng.integers(10, size=len(user))).astype(np.int32),
        feedback=np.where(liked, Feedback.EXAMINED | Feedback.LIKE, Feedback.EXAMINED).astype(np.uint8),
        dwell_seconds=np.ones(len(user), np.float32),
    )
    return log, mood


def objective_of(config: LatentIntentConfig, log: Interactions, seed: int = 0) -> IntentObjective:
    generator = torch.Generator().manual_seed(seed)
    n_flags = len(config.input_flags())
    network = Network(config, ITEMS, lambda _, g: IntentEncoder(config, n_flags, N_TOPICS, g), generator)
    network.mark_seen(log.item)
    return IntentObjective(network, config, training_windows(log, config.window), torch.arange(80), generator)


def encoder_of(objective: IntentObjective) -> IntentEncoder:
    encoder = objective.network.encoder
    assert isinstance(encoder, IntentEncoder)
    return encoder


def intents(objective: IntentObjective, log: Interactions) -> Tensor:
    """The intent that the model expects after each user's first `WINDOW` interactions: float32[n_users, intent_dim]."""
    network, flags = objective.network, objective.config.input_flags()
    windows = training_windows(log.take(log.tick <= WINDOW), WINDOW)
    item = torch.from_numpy(windows.item.astype(np.int64))
    combination = torch.from_numpy(combination_of(flags)[windows.feedback])
    with torch.no_grad():
        x = network.inputs(network.embedding()[item.flatten()], combination.flatten()).view(*item.shape, -1)
        return encoder_of(objective).expected_intent(x, torch.full((len(item),), WINDOW))


def test_the_intent_foretells_the_mood() -> None:
    config = LatentIntentConfig(dim=16, window=WINDOW, negatives=16, blocks=1, item_parts=("id", "topic"))
    objective = objective_of(config, moods_log(0, 400, 24)[0])
    log, mood = moods_log(1, 200, WINDOW + 1)
    intent = encoder_of(objective).intent

    def share_of_moods_told() -> float:
        with torch.no_grad():
            topic = intent.decoder(intents(objective, log))[:, intent.n_flags :].argmax(1)
        return float((topic.numpy() == mood).mean())

    before = share_of_moods_told()
    train(
        objective.network,
        objective,
        len(objective),
        epochs=6,
        batch_size=32,
        learning_rate=0.01,
        weight_decay=0.01,
        generator=torch.Generator().manual_seed(1),
    )
    # By chance it would be 1 in 8; the topic met most often is the mood in .985 of the histories.
    assert before < 0.3
    assert share_of_moods_told() > 0.7


def test_no_gradient_passes_between_recommender_and_intent() -> None:
    objective = objective_of(LatentIntentConfig.model_validate(SMALL | {"dislike_input": True}), make_log())
    named = dict(objective.network.named_parameters())
    of_intent = {name for name in named if name.startswith("encoder.intent.")}
    assert of_intent

    def reached(loss: Tensor) -> set[str]:
        gradients = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
        return {name for name, gradient in zip(named, gradients, strict=True) if gradient is not None}

    rows = torch.arange(8)
    assert reached(objective.intent_loss(rows)) == of_intent
    whole = objective(rows)
    assert reached(whole) == set(named)
    # The recommender's part alone.
    assert reached(super(IntentObjective, objective).__call__(rows)) == set(named) - of_intent


@given(seed=st.integers(0, 10_000))
def test_the_divergence_is_that_of_normal_distributions(seed: int) -> None:
    mean, other_mean, log_variance, other_log_variance = torch.randn(4, 3, 5, generator=_seeded(seed)).double()
    expected = kl_divergence(
        Normal(mean, (log_variance / 2).exp()), Normal(other_mean, (other_log_variance / 2).exp())
    ).sum(-1)
    got = Gaussian(mean, log_variance).divergence(Gaussian(other_mean, other_log_variance))
    torch.testing.assert_close(got, expected)


@given(seed=st.integers(0, 10_000))
def test_the_objective_bounds_the_likelihood_of_the_behaviour(seed: int) -> None:
    generator = _seeded(seed)
    intent = Intent(LatentIntentConfig(dim=4, intent_dim=1), 2, 3, generator).double()
    context = torch.randn(4, generator=generator, dtype=torch.float64)
    count, n = torch.tensor([1.0, 3.0, 2.0, 0.0, 2.0]).double(), torch.tensor([4.0]).double()
    z = torch.linspace(-40, 40, 40_001, dtype=torch.float64)
    with torch.no_grad():
        prior, posterior = intent.prior(context), intent.posterior(context, count / n)
        likelihood = intent.log_likelihood(z.unsqueeze(1), count, n)

        def mean_under(distribution: Gaussian, value: Tensor) -> Tensor:
            density = Normal(distribution.mean, (distribution.log_variance / 2).exp()).log_prob(z).exp()
            return (density * value).sum() * (z[1] - z[0])

        exact = mean_under(prior, likelihood.exp()).log()
        bound = mean_under(posterior, likelihood) - posterior.divergence(prior)
    assert bound <= exact + 1e-6


def test_behaviour_is_what_comes_within_the_horizon() -> None:
    config = LatentIntentConfig.model_validate(SMALL | {"horizon": 3, "dislike_input": True})
    log = make_log()
    windows = training_windows(log, config.window)
    count, n = objective_of(config, log).behaviour(torch.arange(len(windows)))
    flags = config.input_flags()
    for row in range(len(windows)):
        real = int((windows.item[row] >= 0).sum())
        for column in range(config.window):
            coming = range(column, min(column + 3, real))
            assert int(n[row, column]) == len(coming)
            feedback = [int(windows.next_feedback[row, j]) for j in coming]
            topic = [int(ITEMS.topic[windows.next_item[row, j]]) for j in coming]
            expected = [sum((f & flag) != 0 for f in feedback) for flag in flags]
            expected += [topic.count(t) for t in range(N_TOPICS)]
            if coming:
                assert count[row, column].tolist() == expected


@given(length=st.integers(0, 6), seed=st.integers(0, 10_000))
def test_serving_equals_training(length: int, seed: int) -> None:
    encoder = IntentEncoder(LatentIntentConfig(dim=4, window=6), 3, N_TOPICS, _seeded(9)).eval()
    x = torch.randn(1, length, 4, generator=_seeded(seed))
    padding = torch.zeros(1, 6 - length, 4)
    with torch.no_grad():
        served = encoder.final_state(torch.cat([padding, x], 1), torch.tensor([length]))
        trained = encoder.states(torch.cat([x, padding + 3], 1), torch.tensor([length]))
    expected = trained[:, length - 1] if length else torch.zeros(1, 4)
    torch.testing.assert_close(served, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dislike_input", [False, True])
def test_intents_know_of_dislikes_only_if_the_model_may(dislike_input: bool) -> None:
    log = make_log()
    pressed = replace(log, feedback=log.feedback ^ np.uint8(Feedback.DISLIKE))
    states = []
    for one in (log, pressed):
        model = build("latent_intent", SMALL | {"dislike_input": dislike_input})
        model.fit(one, make_items(), seed=5)
        states.append(model.state_dict())
    same = all(states[0][name].tobytes() == states[1][name].tobytes() for name in states[0])
    assert same != dislike_input


def _seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
