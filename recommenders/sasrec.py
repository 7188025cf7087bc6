"""Self-attention over the history in the manner of SASRec: causal transformer blocks, positions from the right."""

from __future__ import annotations

from typing import Annotated, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from recommenders.base import Config
from recommenders.network import Dropout, Encoder, moved_to_front
from recommenders.sequence_config import SequenceConfig
from recommenders.sequence_model import SequenceRecommender


class SasRecConfig(SequenceConfig):
    """Settings of the attention model."""

    blocks: Annotated[int, Field(ge=1, le=64)] = 2
    """Number of transformer blocks."""
    heads: Annotated[int, Field(ge=1, le=64)] = 1
    """Attention heads; `dim` must be a multiple."""
    dropout: Annotated[float, Field(ge=0, le=0.95)] = 0.1
    """Share of inputs, attention weights and each block's two outputs dropped in training, in steps of 1/256."""

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        if self.dim % self.heads:
            raise ValueError(f"heads: got {self.heads}, expected a divisor of dim {self.dim}")
        return self


class SasRecEncoder(Encoder):
    """Causal transformer with learned positions, counted from the newest interaction backwards.

    Source: Kang & McAuley 2018, ICDM (SASRec). Ours: normalisation before each half block (Xiong et al. 2020, ICML) and
    feedback-mapped inputs.
    """

    maps_items: ClassVar[bool] = False
    # States leave a normalisation with length sqrt(dim): larger vectors would begin with logits far from 0, to be
    # unlearnt item by item. In exchange they are read times sqrt(dim).
    item_scale: ClassVar[float] = 0.02

    def __init__(self, config: SasRecConfig, generator: torch.Generator) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(config.window, config.dim, generator=generator) * 0.02)
        self.blocks = [Block(config, generator) for _ in range(config.blocks)]
        self.block = nn.ModuleList(self.blocks)
        self.norm = nn.LayerNorm(config.dim)

    def states(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after each position: float[n, window, dim] from the same shape, padded on the right."""
        from_the_right = length.unsqueeze(1) - 1 - torch.arange(x.shape[1], device=x.device)
        x = x * x.shape[2] ** 0.5 + functional.embedding(from_the_right.clamp(min=0), self.position)
        for block in self.blocks:
            x = block(x)
        normed: Tensor = self.norm(x)
        return normed

    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position: float[n, dim] from float[n, window, dim], zero-padded on the left."""
        x = moved_to_front(x * x.shape[2] ** 0.5 + self.position.flip(0), length)
        *earlier, last = self.blocks
        for block in earlier:
            x = block(x)
        newest: Tensor = self.norm(last.newest(x, length.clamp(min=1)))
        return newest * (length > 0).unsqueeze(1)


class Block(nn.Module):
    """One transformer block: attention, then a position-wise network, each added to what came in.

    Attention is written out: at this size it is faster on a CPU than torch's fused kernel, which has no fast path with
    dropout on the attention weights.
    """

    def __init__(self, config: SasRecConfig, generator: torch.Generator) -> None:
        super().__init__()
        dim = config.dim
        self.heads = config.heads
        self.attention_norm, self.network_norm = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (_linear(dim, dim, generator) for _ in range(3))
        self.merge = _linear(dim, dim, generator)
        self.widen, self.narrow = _linear(dim, dim, generator), _linear(dim, dim, generator)
        self.dropout = Dropout(config.dropout, generator)

    def forward(self, x: Tensor) -> Tensor:
        """float[n, window, dim] from the same shape; a position sees itself and those before it."""
        window = x.shape[1]
        normed = self.attention_norm(x)
        query, key, value = (self._split(project(normed)) for project in (self.query, self.key, self.value))
        hidden = x.new_full((window, window), -torch.inf).triu(1)
        return self._rest(x, self._attend(query, key, value, hidden))

    def newest(self, x: Tensor, length: Tensor) -> Tensor:
        """`forward` at the last real position alone: float[n, dim] from float[n, window, dim] and int64[n]."""
        n, window, dim = x.shape
        at = (length - 1).view(n, 1, 1).expand(n, 1, dim)
        last = x.gather(1, at)
        normed = self.attention_norm(x)
        query = self._split(self.query(normed.gather(1, at)))
        key, value = self._split(self.key(normed)), self._split(self.value(normed))
        padding = torch.arange(window, device=x.device) >= length.repeat_interleave(self.heads).view(-1, 1, 1)
        hidden = torch.zeros_like(padding, dtype=x.dtype).masked_fill_(padding, -torch.inf)
        return self._rest(last, self._attend(query, key, value, hidden)).squeeze(1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, hidden: Tensor) -> Tensor:
        """float[n, queries, dim] from [n * heads, ., dim / heads]; `hidden` is added to the attention's logits."""
        logit = torch.baddbmm(hidden, query, key.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
        seen: Tensor = self.dropout(logit.softmax(-1)) @ value
        if self.heads == 1:
            return seen
        return seen.view(-1, self.heads, *seen.shape[1:]).transpose(1, 2).flatten(2)

    def _rest(self, x: Tensor, seen: Tensor) -> Tensor:
        x = x + self.dropout(self.merge(seen))
        rest: Tensor = self.dropout(self.narrow(functional.relu(self.widen(self.network_norm(x)))))
        return x + rest

    def _split(self, x: Tensor) -> Tensor:
        """float[n * heads, window, dim / heads] from float[n, window, dim]."""
        if self.heads == 1:
            return x
        return x.view(*x.shape[:2], self.heads, -1).transpose(1, 2).flatten(0, 1)


class SasRec(SequenceRecommender):
    """Self-attentive sequence model (SASRec style)."""

    config_class: ClassVar[type[Config]] = SasRecConfig

    def __init__(self, config: SasRecConfig) -> None:
        super().__init__(config, lambda _, generator: SasRecEncoder(config, generator))


def _linear(n_in: int, n_out: int, generator: torch.Generator) -> nn.Linear:
    # By way of the meta device: the usual initialisation would draw from torch's global generator.
    layer = nn.Linear(n_in, n_out, device="meta").to_empty(device=torch.get_default_device())
    nn.init.xavier_normal_(layer.weight, generator=generator)
    nn.init.zeros_(layer.bias)
    return layer
