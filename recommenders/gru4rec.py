"""A recurrent sequence model in the manner of GRU4Rec: one gated recurrent unit over the history."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from recommenders.base import Config
from recommenders.sequence_model import Encoder, SequenceConfig, SequenceRecommender


class Gru4RecConfig(SequenceConfig):
    """Settings of the GRU model."""


class GruEncoder(Encoder):
    """One layer of gated recurrent units whose hidden state is the encoder's state.

    Source: Hidasi et al. 2016, ICLR (GRU4Rec); here with feedback-mapped inputs and tied output embeddings.
    """

    def __init__(self, config: SequenceConfig, generator: torch.Generator) -> None:
        super().__init__()
        # By way of the meta device: the usual initialisation would draw from torch's global generator.
        self.gru = nn.GRU(config.dim, config.dim, batch_first=True, device="meta").to_empty(device="cpu")
        for parameter in self.gru.parameters():
            nn.init.uniform_(parameter, -(config.dim**-0.5), config.dim**-0.5, generator=generator)

    def states(self, x: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from the same shape, padded on the right."""
        states: Tensor = self.gru(x)[0]
        return states

    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position: float[n, dim] from float[n, window, dim], zero-padded on the left."""
        n, window, dim = x.shape
        # Moved to the front, real positions come before the padding, which a causal encoder then cannot see.
        position = (torch.arange(window) - length.unsqueeze(1)) % window
        states = self.states(x.gather(1, position.unsqueeze(2).expand(n, window, dim)))
        last = states[torch.arange(n), (length - 1).clamp(min=0)]
        return last * (length > 0).unsqueeze(1)


class Gru4Rec(SequenceRecommender):
    """Recurrent sequence model (GRU4Rec style)."""

    config_class: ClassVar[type[Config]] = Gru4RecConfig

    def __init__(self, config: Gru4RecConfig) -> None:
        super().__init__(config, GruEncoder)
