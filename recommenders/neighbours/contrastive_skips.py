"""Skipped tracks as negatives: a contrastive term pulls the next track that is wanted and pushes the session's skips.

For a position t whose item was not skipped, with its state s, the next positive item y of the session, and the
session's skipped items N, the loss beside the core's own ("NLL") is

    L = beta NLL + alpha InfoNCE,    InfoNCE = -log(e(y) / (e(y) + sum over k in N of e(k)))
    where e(k) = exp(cos(s, v_k) / T)
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from recommenders.base import PADDING, Bool, Config, Feedback, Int64
from recommenders.labels import NegativeWeights, weight_table
from recommenders.network import Network, combination_of
from recommenders.objective import Batch, Objective, training_data
from recommenders.sampling import Negatives
from recommenders.sasrec import SasRecConfig, SasRecEncoder
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import Windows

SECONDS_PER_MINUTE = 60


class ContrastiveSkipsConfig(SasRecConfig):
    """Settings of the contrast with skipped items."""

    contrasted: Annotated[tuple[Literal["skip", "dislike", "dismiss"], ...], Field(min_length=1)] = ("skip",)
    """The kinds of feedback whose items are pushed away from the states of their session."""
    contrast_weight: Annotated[float, Field(ge=0)] = 0.3
    """alpha: weight of the contrastive term; with 1 it lowers dislikes further and costs hits."""
    nll_weight: Annotated[float, Field(ge=0)] = 1.0
    """beta: weight of the core's loss."""
    temperature: Annotated[float, Field(gt=0)] = 0.1
    """T: cosines are divided by it."""
    session_gap_minutes: Annotated[float, Field(gt=0)] | None = 30.0
    """A longer pause starts a new session; null makes each window of the log one session."""

    def contrasted_flags(self) -> Feedback:
        """The kinds of feedback that are pushed away."""
        return Feedback(sum(Feedback[kind.upper()] for kind in self.contrasted))


class ContrastiveSkips(SequenceRecommender):
    """Attention model whose states are pushed away from what was skipped in the same session.

    Source: Seshadri, Shashaani & Knees 2024, RecSys, arXiv 2409.07367, one of several encoders there; T is that of the
    InfoNCE code they build on. As with them, all skipped items of the session count, also those that came later. Ours:
    the encoder reads the whole window, of which the session is the end, rather than the session alone; sessions are
    cut by pauses and by the ends of windows; the item pulled is one dwelt on long or liked, not any that was not
    skipped; the average is over the core's positive labels; alpha and beta.
    """

    config_class: ClassVar[type[Config]] = ContrastiveSkipsConfig

    def __init__(self, config: ContrastiveSkipsConfig) -> None:
        def make_objective(
            network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
        ) -> SessionContrast:
            return SessionContrast(network, config, windows, candidate, generator)

        super().__init__(config, lambda _, generator: SasRecEncoder(config, generator), make_objective=make_objective)


class SessionContrast(Objective):
    """The core's loss, and the contrast with the negatives of each session."""

    def __init__(
        self,
        network: Network,
        config: ContrastiveSkipsConfig,
        windows: Windows,
        candidate: Tensor,
        generator: torch.Generator,
    ) -> None:
        combination = combination_of(config.input_flags())
        super().__init__(network, config, training_data(windows, config, combination, candidate), generator)
        self.settings = config
        shown = np.hstack([windows.item[:, :1], windows.next_item]).astype(np.int64)
        feedback = np.hstack([windows.feedback[:, :1], windows.next_feedback])
        flags = config.contrasted_flags()
        rejected = (shown != PADDING) & ((feedback & flags) != 0)
        negative_weight = NegativeWeights(**dict.fromkeys(config.contrasted, 1.0))
        wanted = (shown != PADDING) & (weight_table(config.reward, negative_weight)[feedback] > 0)
        session = sessions(windows, config.session_gap_minutes)
        pulled = next_wanted(shown, wanted, session)
        pulled[rejected[:, :-1]] = PADDING

        def tensor(values: Int64 | Bool) -> Tensor:
            return torch.from_numpy(values).to(config.device)

        # Items of the windows, the first and all that came next: int64[n, window + 1], and which are pushed away.
        self.shown, self.rejected = tensor(np.maximum(shown, 0)), tensor(rejected)
        self.session = tensor(session)
        self.pulled = tensor(pulled)

    def loss(self, batch: Batch, rows: Tensor, positive: Tensor, negative: Negatives) -> Tensor:
        """The summed losses of a batch: a scalar."""
        loss = self.settings.nll_weight * super().loss(batch, rows, positive, negative)
        if self.settings.contrast_weight == 0:
            return loss
        return loss + self.settings.contrast_weight * self.info_nce(batch, rows).sum()

    def info_nce(self, batch: Batch, rows: Tensor) -> Tensor:
        """The contrastive loss of each position that has something to pull and something to push: float32[q]."""
        shown, session, pulled = self.shown[rows], self.session[rows], self.pulled[rows]
        state = functional.normalize(batch.state, dim=1).view(*pulled.shape, -1)
        vector = functional.normalize(batch.embedding.index_select(0, shown.flatten()), dim=1).view(*shown.shape, -1)
        logit = state @ vector.transpose(1, 2) / self.settings.temperature  # [b, window, window + 1]
        pushed = self.rejected[rows].unsqueeze(1) & (session[:, :-1].unsqueeze(2) == session.unsqueeze(1))
        # An item that is skipped here and wanted there is not pushed away from itself.
        pushed &= shown.unsqueeze(1) != pulled.unsqueeze(2)
        at = (pulled != PADDING) & pushed.any(2)
        push = logit[at].masked_fill(~pushed[at], -torch.inf).logsumexp(1)
        target = functional.normalize(batch.embedding.index_select(0, pulled[at]), dim=1)
        pull = (state[at] * target).sum(1) / self.settings.temperature
        return -functional.logsigmoid(pull - push)


def sessions(windows: Windows, gap_minutes: float | None) -> Int64:
    """Which session of its row each interaction belongs to, counted from 0.

    Args:
        windows: of the log.
        gap_minutes: a longer pause starts a session; None for one session a row.

    Returns:
        int64[n, window + 1], for the row's first interaction and for all that came next.
    """
    starts = np.zeros((len(windows), windows.item.shape[1] + 1), np.int64)
    if gap_minutes is not None:
        starts[:, 1:] = windows.next_gap_seconds > gap_minutes * SECONDS_PER_MINUTE
    return np.cumsum(starts, axis=1)


def next_wanted(item: Int64, wanted: Bool, session: Int64) -> Int64:
    """The next wanted item of the same session after each interaction but the row's last.

    Args:
        item: int64[n, m].
        wanted: bool[n, m].
        session: int64[n, m], ascending.

    Returns:
        int64[n, m - 1]; -1 where there is none.
    """
    m = item.shape[1]
    column = np.minimum.accumulate(np.where(wanted, np.arange(m), m)[:, ::-1], axis=1)[:, ::-1][:, 1:]
    found = np.minimum(column, m - 1)
    same = (column < m) & (np.take_along_axis(session, found, 1) == session[:, :-1])
    return np.where(same, np.take_along_axis(item, found, 1), PADDING)
