"""Serving a fitted sequence model: histories to states, states to scores and slates, in batches of fixed shapes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recommenders.base import PADDING, Bool, Float32, Int32, Int64, RecommenderError, Slates, UInt8
from recommenders.network import CarriedEncoder, Network, combination_of
from recommenders.sequence_config import SequenceConfig
from recommenders.topk import hide_viewed, top_k

SERVING_BATCH = 256
"""Histories encoded at a time: float32 results depend on the shape, so the shape never changes."""

SCORING_BATCH = 64
"""States scored at a time; their scores stay in the cache until the top k are found."""

INPUT_TABLE_BYTES = 64 * 2**20
"""Up to this size, the inputs of all items under all combinations of feedback are computed once."""


class Served:
    """A fitted network with the tables that serving reads, computed once."""

    def __init__(self, network: Network, config: SequenceConfig) -> None:
        self.network = network.eval().requires_grad_(False)
        self.combination = combination_of(config.input_flags())
        embedding = network.embedding()
        self.n_items, self.dim = embedding.shape
        self.device = embedding.device
        self.embedding = torch.cat([embedding, torch.zeros(1, self.dim, device=self.device)])
        self.output = embedding.T.contiguous()
        self.bias = network.bias().squeeze(1)
        self.n_combinations = len(network.present)
        table_bytes = self.n_items * self.n_combinations * self.dim * embedding.element_size()
        self.table = self._input_table() if table_bytes <= INPUT_TABLE_BYTES else None

    def states(self, item: Int32, feedback: UInt8) -> Float32:
        """The states after some histories: float32[n, dim] from int32[n, window], padded on the left, and uint8."""
        state = np.empty((len(item), self.dim), np.float32)
        for rows in _batches(len(item), SERVING_BATCH):
            x = self._inputs(item[rows], feedback[rows])
            length = self._padded((item[rows] != PADDING).sum(1), 0)
            state[rows] = self._numpy(self.network.encoder.final_state(x, length), rows)
        return state

    def initial(self, n: int) -> Float32:
        """What is carried of `n` empty histories: float32[n, width]."""
        return np.tile(self._carried().initial(1).cpu().numpy(), (n, 1))

    def advanced(self, carried: Float32, item: Int32, feedback: UInt8) -> Float32:
        """What is carried after one more interaction each, none where the item is -1: float32[n, width]."""
        encoder, advanced = self._carried(), np.empty_like(carried)
        for rows in _batches(len(item), SERVING_BATCH):
            x = self._inputs(item[rows, None], feedback[rows, None]).squeeze(1)
            advanced[rows] = self._numpy(encoder.advance(self._padded(carried[rows], 0.0), x), rows)
        unchanged = item == PADDING
        advanced[unchanged] = carried[unchanged]
        return advanced

    def read(self, carried: Float32) -> Float32:
        """The states that are carried: float32[n, dim] from float32[n, width]."""
        encoder, state = self._carried(), np.empty((len(carried), self.dim), np.float32)
        for rows in _batches(len(carried), SERVING_BATCH):
            state[rows] = self._numpy(encoder.read(self._padded(carried[rows], 0.0)), rows)
        return state

    def scores(self, state: Float32) -> Float32:
        """Scores of all items, s . v_y + b_y: float32[n, n_items] from float32[n, dim]."""
        score = np.empty((len(state), self.n_items), np.float32)
        for rows in _batches(len(state), SCORING_BATCH):
            score[rows] = self._scored(state[rows])
        return score

    def ranked(self, state: Float32, viewed: Int32 | None, eligible: Bool, k: int) -> Slates:
        """The `k` eligible items with the highest scores for each state, `top_k` of `scores`.

        Args:
            state: float32[n, dim].
            viewed: int32[n, h], items that go behind all others, -1 for none; None: nothing is hidden.
            eligible: bool[n_items].
            k: at least 1.

        Raises:
            RecommenderError: fewer than `k` items are eligible.
        """
        parts = []
        for rows in _batches(len(state), SCORING_BATCH):
            score = self._scored(state[rows])
            if viewed is not None:
                hide_viewed(score, viewed[rows])
            parts.append(top_k(score, eligible, k))
        if not parts:
            return top_k(np.empty((0, self.n_items), np.float32), eligible, k)
        return Slates(np.concatenate([s.item for s in parts]), np.concatenate([s.score for s in parts]))

    def _scored(self, state: Float32) -> Float32:
        batch = self._padded(state, 0.0, SCORING_BATCH)
        return self._numpy(torch.addmm(self.bias, batch, self.output), slice(0, len(state)))

    def _inputs(self, item: Int32, feedback: UInt8) -> Tensor:
        """What the encoder reads, zeros where padded: float32[SERVING_BATCH, window, dim]."""
        padded_item = self._padded(item.astype(np.int64), PADDING)
        combination = self._padded(self.combination[feedback], 0)
        present = padded_item >= 0
        if self.table is not None:
            row = padded_item * self.n_combinations + combination
            return functional.embedding(torch.where(present, row, len(self.table) - 1), self.table)
        # The last row of the embedding is all zeros, which every map leaves as they are.
        embedded = functional.embedding(torch.where(present, padded_item, self.n_items), self.embedding)
        return self.network.inputs(embedded.flatten(0, 1), combination.flatten()).view(*padded_item.shape, self.dim)

    def _input_table(self) -> Tensor:
        """Inputs by row `item * n_combinations + combination`, and a last row of zeros for padding."""
        combination = torch.arange(self.n_combinations, device=self.device).repeat(self.n_items)
        table = self.network.inputs(self.embedding[:-1].repeat_interleave(self.n_combinations, 0), combination)
        return torch.cat([table, torch.zeros(1, self.dim, device=self.device)])

    def _padded(self, rows: Int64 | Float32, filling: float, batch: int = SERVING_BATCH) -> Tensor:
        """A batch of which the first rows are those given."""
        if len(rows) < batch:
            padding = np.full((batch - len(rows), *rows.shape[1:]), filling, rows.dtype)
            rows = np.concatenate([rows, padding])
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self.device)

    def _carried(self) -> CarriedEncoder:
        encoder = self.network.encoder
        if not isinstance(encoder, CarriedEncoder):
            raise RecommenderError(
                f"{type(encoder).__name__} has no state to carry, expected a recurrent encoder; use `scores`"
            )
        return encoder

    @staticmethod
    def _numpy(batch: Tensor, rows: slice) -> Float32:
        values: Float32 = batch.cpu().numpy()
        return values[: rows.stop - rows.start]


def _batches(n: int, size: int) -> list[slice]:
    return [slice(start, min(start + size, n)) for start in range(0, n, size)]
