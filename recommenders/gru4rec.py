"""A recurrent sequence model in the manner of GRU4Rec: one gated recurrent unit over the history."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from recommenders.base import Config
from recommenders.network import CarriedEncoder, moved_to_front
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender


class Gru4RecConfig(SequenceConfig):
    """Settings of the GRU model."""


class GruEncoder(CarriedEncoder):
    """One layer of gated recurrent units whose hidden state is the encoder's state.

    Source: Hidasi et al. 2016, ICLR (GRU4Rec); here with feedback-mapped inputs and tied output embeddings.
    """

    def __init__(self, config: SequenceConfig, generator: torch.Generator) -> None:
        super().__init__()
        # By way of the meta device: the usual initialisation would draw from torch's global generator.
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True, device="meta").to_empty(
            device=torch.get_default_device()
        )
        for parameter in self.gru.parameters():
            nn.init.uniform_(parameter, -(config.dim**-0.5), config.dim**-0.5, generator=generator)

    def states(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from the same shape, padded on the right."""
        states: Tensor = self.gru(x)[0]
        return states

    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position: float[n, dim] from float[n, window, dim], zero-padded on the left."""
        states = self.states(moved_to_front(x, length), length)
        last = states[torch.arange(len(x), device=x.device), (length - 1).clamp(min=0)]
        return last * (length > 0).unsqueeze(1)

    def initial(self, n: int) -> Tensor:
        """Hidden states of `n` empty histories: float[n, dim]."""
        return next(self.gru.parameters()).new_zeros(n, self.gru.hidden_size)

    def advance(self, carried: Tensor, x: Tensor) -> Tensor:
        """The hidden state after one more input: float[n, dim] from float[n, dim] twice."""
        return torch.gru_cell(x, carried, *self.gru.parameters())

    def read(self, carried: Tensor) -> Tensor:
        """The hidden state is the state."""
        return carried


class Gru4Rec(SequenceRecommender):
    """Recurrent sequence model (GRU4Rec style)."""

    config_class: ClassVar[type[Config]] = Gru4RecConfig

    def __init__(self, config: Gru4RecConfig) -> None:
        super().__init__(config, GruEncoder)
