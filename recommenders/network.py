"""The parts that every sequence model is put together from: item table, feedback maps, and the encoder's interface.

An encoder reads a history of vectors x = E W_0 + sum of E W_f over the kinds of feedback f that the user gave the item
(W_0 is the identity for an encoder that projects its inputs itself), and returns a state s; the score of an item y is
s . v_y + b_y. Embeddings are tied: the E that is read is the v that is scored.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from recommenders.base import PADDING, Feedback, Int32, Int64, ItemFeatures, UInt8
from recommenders.sequence_config import SequenceConfig


class Encoder(nn.Module):
    """Turns a history of vectors into states; it looks only backwards."""

    maps_items: ClassVar[bool] = True
    """Whether W_0 is learned; an encoder that projects its inputs itself is fed the item's vector as it is."""
    item_scale: ClassVar[float] = 0.3
    """Standard deviation of the parts of items' vectors before training."""

    @abstractmethod
    def states(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after each position.

        Args:
            x: float[n, window, dim], padded on the right.
            length: int64[n], real positions of each row.

        Returns:
            float[n, window, dim]; anything where padded.
        """
        ...

    @abstractmethod
    def final_state(self, x: Tensor, length: Tensor) -> Tensor:
        """The state after the last position.

        Args:
            x: float[n, window, dim], padded on the left with zeros.
            length: int64[n], real positions of each row.

        Returns:
            float[n, dim]; zeros for an empty history.
        """
        ...


class CarriedEncoder(Encoder):
    """An encoder whose state can be carried: a new interaction costs one step, whatever came before."""

    @abstractmethod
    def initial(self, n: int) -> Tensor:
        """What is carried of `n` empty histories: float[n, width]."""
        ...

    @abstractmethod
    def advance(self, carried: Tensor, x: Tensor) -> Tensor:
        """What is carried after one more interaction: float[n, width] from float[n, width] and float[n, dim]."""
        ...

    @abstractmethod
    def read(self, carried: Tensor) -> Tensor:
        """The states: float[n, dim] from float[n, width]; zeros for an empty history."""
        ...


MakeEncoder = Callable[[SequenceConfig, torch.Generator], Encoder]


def moved_to_front(x: Tensor, length: Tensor) -> Tensor:
    """Rows padded on the left, rotated so that the padding is on the right, where a causal encoder cannot see it.

    Args:
        x: float[n, window, dim].
        length: int64[n], real positions of each row.
    """
    n, window, dim = x.shape
    position = (torch.arange(window, device=x.device) - length.unsqueeze(1)) % window
    return x.gather(1, position.unsqueeze(2).expand(n, window, dim))


class Dropout(nn.Module):
    """Inverted dropout from whole random bytes, so the share is in steps of 1/256; nothing while not training.

    torch's own draws a float for each element from the global generator, a quarter of a small model's step.
    """

    def __init__(self, share: float, generator: torch.Generator) -> None:
        super().__init__()
        self.dropped = round(share * 256)
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """The same shape, some elements 0 and the others scaled up so that the mean stays."""
        if not self.training or self.dropped == 0:
            return x
        # All 64 bits: without bounds, the highest of each eight bytes would lack its first bit.
        words = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None, generator=self.generator)
        kept = words.view(torch.uint8)[: x.numel()].view(x.shape) >= self.dropped
        return x * kept.to(x.device, x.dtype).mul_(256 / (256 - self.dropped))


class ItemTable(nn.Module):
    """A vector for each item: the sum of its own, its creator's and its topic's, as far as they are wanted.

    An item that the log has never shown contributes no vector of its own: a new item starts as its creator's and its
    topic's.
    """

    creator: Tensor
    topic: Tensor
    seen: Tensor

    def __init__(
        self, items: ItemFeatures, parts: tuple[str, ...], width: int, scale: float, generator: torch.Generator
    ) -> None:
        super().__init__()
        shared = {"creator": items.n_creators, "topic": items.n_topics}
        # Beside other parts an item's own vector starts small: before its data come, it is one of its kind.
        varied = any(part in parts and size > 1 for part, size in shared.items())
        self.own_vector = (
            _normal((items.n_items, width), 0.0 if varied else scale, generator) if "id" in parts else None
        )
        self.creator_vector = _normal((items.n_creators, width), scale, generator) if "creator" in parts else None
        self.topic_vector = _normal((items.n_topics, width), scale, generator) if "topic" in parts else None
        self.register_buffer("creator", torch.from_numpy(items.creator.astype(np.int64)), persistent=False)
        self.register_buffer("topic", torch.from_numpy(items.topic.astype(np.int64)), persistent=False)
        self.register_buffer("seen", torch.zeros(items.n_items, 1))

    def forward(self) -> Tensor:
        """float32[n_items, width]."""
        parts: list[Tensor] = []
        if self.own_vector is not None:
            parts.append(self.own_vector * self.seen)
        # index_select, whose gradient is one index_add; indexing by [] would sort.
        if self.creator_vector is not None:
            parts.append(self.creator_vector.index_select(0, self.creator))
        if self.topic_vector is not None:
            parts.append(self.topic_vector.index_select(0, self.topic))
        table = parts[0]
        for part in parts[1:]:
            table = table + part
        return table


class Network(nn.Module):
    """Item table, output bias, feedback maps and encoder."""

    present: Tensor

    def __init__(
        self, config: SequenceConfig, items: ItemFeatures, make_encoder: MakeEncoder, generator: torch.Generator
    ) -> None:
        super().__init__()
        self.encoder = make_encoder(config, generator)
        n_flags, n_always = len(config.input_flags()), int(self.encoder.maps_items)
        self.embedding = ItemTable(items, config.item_parts, config.dim, self.encoder.item_scale, generator)
        self.bias = ItemTable(items, config.item_parts, 1, 0.0, generator)
        self.feedback_map = _normal((n_always + n_flags, config.dim, config.dim), 0.1 * config.dim**-0.5, generator)
        # present[c, f]: whether map f applies to an item with the combination c of flags; W_0 always does.
        always = (1,) * n_always
        combinations = torch.tensor([always + bits for bits in itertools.product((0, 1), repeat=n_flags)])
        self.register_buffer("present", combinations.float(), persistent=False)
        self.dropout = Dropout(config.dropout, generator)

    def mark_seen(self, item: Int32) -> None:
        """Let the items of a log have vectors of their own."""
        for table in (self.embedding, self.bias):
            table.seen[torch.from_numpy(item.astype(np.int64))] = 1

    def inputs(self, embedding: Tensor, combination: Tensor) -> Tensor:
        """What the encoder reads at some positions: x = E W_0 + sum of E W_f over the flags f that are present.

        Args:
            embedding: float32[n, dim], of the items at the positions.
            combination: int64[n], which combination of flags each item got.

        Returns:
            float32[n, dim].
        """
        if self.encoder.maps_items and len(self.present) == 1:
            return embedding @ self.feedback_map[0]
        if len(self.present) == 1:
            return embedding
        flagged = self.present[combination].unsqueeze(2) * embedding.unsqueeze(1)  # [n, maps, dim]
        mapped = flagged.flatten(1) @ self.feedback_map.flatten(0, 1)
        return mapped if self.encoder.maps_items else embedding + mapped

    def states(self, embedding: Tensor, item: Tensor, combination: Tensor, length: Tensor) -> Tensor:
        """The states after each position of some windows, dropout included while training.

        Args:
            embedding: float32[n_items, dim], the item table.
            item: int64[n, window], any item where padded, which is on the right.
            combination: int64[n, window].
            length: int64[n], real positions of each row.

        Returns:
            float32[n, window, dim]; anything where padded.
        """
        x = self.inputs(embedding.index_select(0, item.flatten()), combination.flatten())
        states: Tensor = self.encoder.states(self.dropout(x.view(*item.shape, -1)), length)
        return states


def combination_of(flags: tuple[Feedback, ...]) -> Int64:
    """Which combination of flags each feedback byte is, reading the first flag as the highest bit: int64[256]."""
    feedback = np.arange(256)
    combination = np.zeros(256, np.int64)
    for flag in flags:
        combination = 2 * combination + ((feedback & flag) != 0)
    return combination


def input_rows(item: Int32, feedback: UInt8, combination: Int64, n_combinations: int) -> Int64:
    """Where an item under its feedback stands in a table of all of them: int64 of the same shape, -1 where padded."""
    row = item.astype(np.int64) * n_combinations + combination[feedback]
    return np.where(item == PADDING, PADDING, row)


def _normal(shape: tuple[int, ...], scale: float, generator: torch.Generator) -> nn.Parameter:
    return nn.Parameter(torch.randn(shape, generator=generator) * scale)
