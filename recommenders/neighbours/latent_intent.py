"""A latent intent, inferred from the history by a variational autoencoder, that the recommender is told.

The intent z is what explains how a user behaves in the interactions to come, B: which feedback they give and which
topics they take up. From the context c, a summary of the history, and from B itself three small networks learn

    prior       p(z | c)       what the user is up to, before it shows: all that serving can know
    posterior   q(z | c, B)    the same in hindsight, in training only
    decoder     p(B | z)       the behaviour that the intent leads to

by maximising E_q[log p(B | z)] - beta KL(q(z | c, B) || p(z | c)). The recommender is a sequence model whose state is

    s = encoder(history) + U stop_gradient(mean of p(z | c))

and its loss is its own. No gradient passes between the two: z cannot turn into one more hidden layer of the
recommender and goes on meaning behaviour. Serving uses the prior's mean, so it is deterministic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recommenders.base import Config, ItemFeatures
from recommenders.linear_recurrent import LinearRecurrentConfig, LinearRecurrentEncoder
from recommenders.network import Encoder, Network, combination_of
from recommenders.objective import Objective, training_data
from recommenders.sasrec import SasRecConfig, SasRecEncoder
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import Windows

LOG_VARIANCE_LIMIT = 5.0
"""Log variances are bent to stay within this, or the divergence may explode early in training."""


class LatentIntentConfig(SasRecConfig):
    """Settings of the model that infers an intent."""

    negatives_shared_by: Literal[0] = 0
    """All windows of a batch share one draw of negatives here."""
    intent_dim: Annotated[int, Field(ge=1, le=256)] = 8
    """Dimension of the intent."""
    horizon: Annotated[int, Field(ge=1)] = 5
    """How many interactions to come an intent explains."""
    kl_weight: Annotated[float, Field(gt=0)] = 0.1
    """Weight beta of the divergence. 1 makes the objective a bound on the likelihood of the behaviour; below it, an
    intent says something after fewer steps of training."""


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions.

    Attributes:
        mean, log_variance: float32[..., intent_dim].
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self, generator: torch.Generator) -> Tensor:
        """One draw of each, through which gradients flow to mean and variance: float32[..., intent_dim]."""
        noise = torch.randn(self.mean.shape, generator=generator).to(self.mean.device)
        return self.mean + (self.log_variance / 2).exp() * noise

    def divergence(self, other: Gaussian) -> Tensor:
        """KL(self || other), summed over the last axis: float32[...], >= 0."""
        ratio = (self.log_variance - other.log_variance).exp()
        distance = (self.mean - other.mean) ** 2 * (-other.log_variance).exp()
        return (ratio + distance - 1 + other.log_variance - self.log_variance).sum(-1) / 2


class Perceptron(nn.Module):
    """One hidden layer."""

    def __init__(self, n_in: int, n_hidden: int, n_out: int, generator: torch.Generator) -> None:
        super().__init__()
        self.first = nn.Parameter(torch.randn(n_in, n_hidden, generator=generator) * n_in**-0.5)
        self.first_bias = nn.Parameter(torch.zeros(n_hidden))
        self.second = nn.Parameter(torch.randn(n_hidden, n_out, generator=generator) * n_hidden**-0.5)
        self.second_bias = nn.Parameter(torch.zeros(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """float32[..., n_out] from float32[..., n_in]."""
        hidden = torch.tanh(x @ self.first + self.first_bias)
        return hidden @ self.second + self.second_bias


class Intent(nn.Module):
    """Context encoder, prior, posterior and decoder.

    Behaviour is counted: how many of the next interactions have each kind of feedback and each topic.
    """

    def __init__(self, config: LatentIntentConfig, n_flags: int, n_topics: int, generator: torch.Generator) -> None:
        super().__init__()
        dim, n_signals = config.dim, n_flags + n_topics
        self.n_flags, self.n_topics = n_flags, n_topics
        self.summary = LinearRecurrentEncoder(LinearRecurrentConfig(dim=dim, window=config.window), generator)
        self.norm = nn.LayerNorm(dim)
        self.prior_network = Perceptron(dim, dim, 2 * config.intent_dim, generator)
        self.posterior_network = Perceptron(dim + n_signals, dim, 2 * config.intent_dim, generator)
        self.decoder = Perceptron(config.intent_dim, dim, n_signals, generator)

    def contexts(self, x: Tensor, length: Tensor) -> Tensor:
        """The context after each position: float32[n, window, dim] from the same shape, padded on the right."""
        context: Tensor = self.norm(self.summary.states(x * x.shape[2] ** 0.5, length))
        return context

    def final_context(self, x: Tensor, length: Tensor) -> Tensor:
        """The context after the last position: float32[n, dim] from [n, window, dim], padded on the left with zeros."""
        context: Tensor = self.norm(self.summary.final_state(x * x.shape[2] ** 0.5, length))
        return context

    def prior(self, context: Tensor) -> Gaussian:
        """p(z | c) from float32[..., dim]."""
        return _gaussian(self.prior_network(context))

    def posterior(self, context: Tensor, share: Tensor) -> Gaussian:
        """q(z | c, B) from float32[..., dim] and float32[..., n_signals], the behaviour per interaction."""
        return _gaussian(self.posterior_network(torch.cat([context, share], -1)))

    def log_likelihood(self, z: Tensor, count: Tensor, n: Tensor) -> Tensor:
        """log p(B | z): each of the next interactions has each kind of feedback or not, and one topic.

        Args:
            z: float32[..., intent_dim].
            count: float32[..., n_signals], interactions with each kind of feedback, then with each topic.
            n: float32[..., 1], interactions.

        Returns:
            float32[...], at most 0.
        """
        logit = self.decoder(z)
        flag, topic = logit[..., : self.n_flags], logit[..., self.n_flags :]
        flag_count, topic_count = count[..., : self.n_flags], count[..., self.n_flags :]
        of_flags = flag_count * functional.logsigmoid(flag) + (n - flag_count) * functional.logsigmoid(-flag)
        likelihood: Tensor = of_flags.sum(-1) + (topic_count * topic.log_softmax(-1)).sum(-1)
        return likelihood


class IntentEncoder(Encoder):
    """Self-attention over the history, and the expected intent beside it."""

    maps_items: ClassVar[bool] = SasRecEncoder.maps_items
    item_scale: ClassVar[float] = SasRecEncoder.item_scale

    def __init__(self, config: LatentIntentConfig, n_flags: int, n_topics: int, generator: torch.Generator) -> None:
        super().__init__()
        self.history = SasRecEncoder(config, generator)
        self.intent = Intent(config, n_flags, n_topics, generator)
        self.told = nn.Parameter(torch.randn(config.intent_dim, config.dim, generator=generator) * 0.1)

    def states(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from the same shape, padded on the right."""
        with torch.no_grad():
            z = self.intent.prior(self.intent.contexts(x, length)).mean
        return self.history.states(x, length) + z @ self.told

    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position: float[n, dim] from float[n, window, dim], zero-padded on the left."""
        z = self.expected_intent(x, length)
        return self.history.final_state(x, length) + (z @ self.told) * (length > 0).unsqueeze(1)

    def expected_intent(self, x: Tensor, length: Tensor) -> Tensor:
        """The prior's mean: float[n, intent_dim] from float[n, window, dim], padded on the left with zeros."""
        with torch.no_grad():
            return self.intent.prior(self.intent.final_context(x, length)).mean


class IntentObjective(Objective):
    """The recommender's loss on its labels, plus the negative bound on the likelihood of the behaviour to come."""

    def __init__(
        self,
        network: Network,
        config: LatentIntentConfig,
        windows: Windows,
        candidate: Tensor,
        generator: torch.Generator,
    ) -> None:
        flags = config.input_flags()
        super().__init__(network, config, training_data(windows, config, combination_of(flags), candidate), generator)
        assert isinstance(network.encoder, IntentEncoder)
        self.intent = network.encoder.intent
        self.kl_weight = config.kl_weight
        self.generator = generator
        feedback = [((windows.next_feedback & flag) != 0).astype(np.float32) for flag in flags]
        shape = (*windows.next_item.shape, len(flags))
        self.flag = torch.from_numpy(np.stack(feedback, -1) if flags else np.empty(shape, np.float32)).to(config.device)
        position = torch.arange(config.window, device=config.device)
        ahead = position - position.unsqueeze(1)
        self.coming = ((ahead >= 0) & (ahead < config.horizon)).float()  # [window, window]

    def __call__(self, rows: Tensor) -> Tensor:
        """The loss of the windows with these numbers, int64[b]: a scalar."""
        return super().__call__(rows) + self.intent_loss(rows.to(self.data.item.device))

    def intent_loss(self, rows: Tensor) -> Tensor:
        """Mean of beta KL - log p(B | z) over the positions: a scalar that trains the intent's networks alone."""
        data, network, intent = self.data, self.network, self.intent
        item, length = data.item[rows], data.length[rows]
        with torch.no_grad():
            embedding = network.embedding().index_select(0, item.flatten())
            x = network.inputs(embedding, data.combination[rows].flatten()).view(*item.shape, -1)
        count, n = self.behaviour(rows)
        context = intent.contexts(x, length)
        prior, posterior = intent.prior(context), intent.posterior(context, count / n.clamp(min=1))
        likelihood = intent.log_likelihood(posterior.sample(self.generator), count, n)
        loss = self.kl_weight * posterior.divergence(prior) - likelihood
        real = n.squeeze(2) > 0
        return (loss * real).sum() / real.sum().clamp(min=1)

    def behaviour(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """What comes within the horizon after each position of some windows, as far as the window tells.

        Args:
            rows: int64[b].

        Returns:
            Interactions with each kind of feedback and with each topic, float32[b, window, n_signals]; and interactions
            in all, float32[b, window, 1], 0 where padded.
        """
        label, length = self.data.label[rows], self.data.length[rows]
        real = (torch.arange(label.shape[1], device=label.device) < length.unsqueeze(1)).unsqueeze(2)
        topic = functional.one_hot(self.network.embedding.topic[label], self.intent.n_topics)
        signal = torch.cat([self.flag[rows], topic], 2) * real
        return self.coming @ signal, (self.coming @ real.float()) * real


class LatentIntent(SequenceRecommender):
    """Attention model that is told an intent inferred from behaviour.

    Source: Chang, Karatzoglou, Wang, Xu, Chi & Chen 2023, WWW Companion, arXiv 2211.09832: intent as the latent
    variable of a conditional autoencoder of behaviour given context, the prior network alone in the recommender, a
    stop-gradient between the two, bounded log variances. Ours, since it is not published in detail: what counts as
    behaviour and context, the sizes, the hyperbolic tangent as the bound, z as an added vector; and the recommender,
    which there is a policy trained by REINFORCE.
    """

    config_class: ClassVar[type[Config]] = LatentIntentConfig

    def __init__(self, config: LatentIntentConfig) -> None:
        n_flags = len(config.input_flags())

        def make_network(_: SequenceConfig, items: ItemFeatures, generator: torch.Generator) -> Network:
            return Network(config, items, lambda _, g: IntentEncoder(config, n_flags, items.n_topics, g), generator)

        def make_objective(
            network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
        ) -> IntentObjective:
            return IntentObjective(network, config, windows, candidate, generator)

        def make_encoder(_: SequenceConfig, generator: torch.Generator) -> SasRecEncoder:
            return SasRecEncoder(config, generator)

        super().__init__(config, make_encoder, make_network=make_network, make_objective=make_objective)


def _gaussian(parameters: Tensor) -> Gaussian:
    mean, log_variance = parameters.chunk(2, -1)
    return Gaussian(mean, LOG_VARIANCE_LIMIT * torch.tanh(log_variance / LOG_VARIANCE_LIMIT))
