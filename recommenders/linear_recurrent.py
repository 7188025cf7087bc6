"""A light linear-recurrent encoder: per-feedback linear maps, a few learned decays, one linear readout.

    h_m <- decay_m h_m + x        s = sum_m h_m U_m

where x is the item vector mapped by the feedback given (`network`). There is no nonlinearity, so a dislike's
effect on the scores is a learned bilinear form between the disliked item and each other one, faded by age: what makes
the model answer push-back after seconds of training.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from recommenders.base import Config
from recommenders.network import CarriedEncoder
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender


class LinearRecurrentConfig(SequenceConfig):
    """Settings of the linear-recurrent model."""

    decays: Annotated[int, Field(ge=1, le=16)] = 3
    """Number of learned decays; they start between 0.5 and 0.98."""


class LinearRecurrentEncoder(CarriedEncoder):
    """Sums of the inputs under learned exponential decays, read out linearly."""

    def __init__(self, config: LinearRecurrentConfig, generator: torch.Generator) -> None:
        super().__init__()
        decay = 1 - torch.logspace(-0.3, -1.7, config.decays)
        self.decay_logit = nn.Parameter(torch.logit(decay))
        # Near the identity: at first, what was watched speaks for what is like it.
        noise = torch.randn(config.decays, config.dim, config.dim, generator=generator)
        self.readout = nn.Parameter(0.3 * torch.eye(config.dim) + 0.1 * (config.decays * config.dim) ** -0.5 * noise)

    def states(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from the same shape, padded on the right."""
        window = x.shape[1]
        position = torch.arange(window, device=x.device)
        age = position.unsqueeze(1) - position
        weight = self._weight(age.clamp(min=0)) * (age >= 0)  # [m, window, window]
        read = torch.einsum("nsd,mde->nmse", x, self.readout)
        return torch.einsum("mts,nmse->nte", weight, read)

    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position: float[n, dim] from float[n, window, dim], zero-padded on the left."""
        window = x.shape[1]
        weight = self._weight(torch.arange(window - 1, -1, -1, device=x.device))  # [m, window]
        memory = weight @ x  # [n, m, dim]
        return memory.flatten(1) @ self.readout.flatten(0, 1)

    def initial(self, n: int) -> Tensor:
        """The decayed sums of `n` empty histories: float[n, decays * dim]."""
        return self.readout.new_zeros(n, self.readout.shape[0] * self.readout.shape[1])

    def advance(self, carried: Tensor, x: Tensor) -> Tensor:
        """The decayed sums after one more input: float[n, decays * dim] from the same and float[n, dim]."""
        memory = carried.view(len(x), *self.readout.shape[:2])
        now, past = self._weight(torch.arange(2, device=x.device)).unbind(1)
        return (memory * (past / now).unsqueeze(1) + x.unsqueeze(1) * now.unsqueeze(1)).flatten(1)

    def read(self, carried: Tensor) -> Tensor:
        """The sums, read out linearly: float[n, dim]."""
        return carried @ self.readout.flatten(0, 1)

    def _weight(self, age: Tensor) -> Tensor:
        """decay ** age for each decay, scaled so that independent inputs keep their variance: float[m, ...]."""
        decay = torch.sigmoid(self.decay_logit).reshape(-1, *[1] * age.dim())
        return decay**age * (1 - decay**2).sqrt()


class LinearRecurrent(SequenceRecommender):
    """Linear-recurrent sequence model; learns to answer push-back within seconds of training."""

    config_class: ClassVar[type[Config]] = LinearRecurrentConfig

    def __init__(self, config: LinearRecurrentConfig) -> None:
        super().__init__(config, lambda _, generator: LinearRecurrentEncoder(config, generator))
