"""The network of RELIFE and its two auxiliary losses.

The layers are ours: attention that fades with age, a decaying context as the mixer, differences from a list's mean as
the comparison, means of clicked and unclicked items as what interest and disinterest are held to.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from torch.nn import functional

from recommenders.base import ItemFeatures
from recommenders.network import ItemTable


@dataclass(frozen=True)
class Lists:
    """Candidate lists and the histories before them.

    Attributes:
        item: int64[n, h], 0 where padded.
        read: bool[n, h], where the history is not padded.
        click: bool[n, h], false where padded.
        list_number: int64[n, h], equal for items of one past list; -1 where padded.
        candidate: int64[n, c].
        base: float32[n, c], the base model's scores, standardised within the request.
    """

    item: Tensor
    read: Tensor
    click: Tensor
    list_number: Tensor
    candidate: Tensor
    base: Tensor

    def take(self, rows: Tensor) -> Lists:
        """The chosen ones."""
        return Lists(*(getattr(self, field.name)[rows] for field in fields(self)))


@dataclass(frozen=True)
class Read:
    """What the network makes of some lists.

    Attributes:
        logit: float32[n, c], of a click on each candidate.
        interest, disinterest: float32[n, c, dim], what each candidate attended to.
        pattern: float32[n, dim], of the comparisons in the past lists.
        difference: float32[n, c, dim], of each candidate from the mean of all.
    """

    logit: Tensor
    interest: Tensor
    disinterest: Tensor
    pattern: Tensor
    difference: Tensor


class Attention(nn.Module):
    """Candidates attend to past positions, the more the newer these are, or to nothing."""

    def __init__(self, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        # Near the identity: at first, what is alike attends.
        self.query = nn.Parameter(1.5 * torch.eye(dim) + _matrix(dim, dim, generator))
        self.key = nn.Parameter(torch.eye(dim) + _matrix(dim, dim, generator))
        self.value = nn.Parameter(torch.eye(dim) + _matrix(dim, dim, generator))
        self.log_rate = nn.Parameter(torch.tensor(-3.0))

    def forward(self, candidate: Tensor, past: Tensor, allowed: Tensor) -> Tensor:
        """float32[n, c, dim] from candidates, past positions float32[n, h, dim], and bool[n, h]; 0 if none allowed."""
        n, width, dim = past.shape
        age = torch.arange(width - 1, -1, -1)
        logit = (candidate @ self.query) @ (past @ self.key).transpose(1, 2) * dim**-0.5 - self.log_rate.exp() * age
        logit = logit.masked_fill(~allowed.unsqueeze(1), -torch.inf)
        nothing = torch.zeros((n, candidate.shape[1], 1))
        weight = torch.softmax(torch.cat([logit, nothing], 2), 2)[:, :, :-1]
        attended: Tensor = weight @ (past @ self.value)
        return attended


class ReRanker(nn.Module):
    """The network: item table, the three parts, and a scorer that begins as the base model's order."""

    def __init__(self, items: ItemFeatures, dim: int, generator: torch.Generator) -> None:
        super().__init__()
        self.embedding = ItemTable(items, ("id", "creator", "topic"), dim, 0.3, generator)
        self.to_clicks = Attention(dim, generator)
        self.to_others = Attention(dim, generator)
        self.to_mixed = Attention(dim, generator)
        self.feedback = nn.Parameter(0.3 * torch.randn((2, dim), generator=generator))
        self.decay_logit = nn.Parameter(torch.tensor(1.0))
        self.mix_own = nn.Parameter(torch.eye(dim) + _matrix(dim, dim, generator))
        self.mix_context = nn.Parameter(_matrix(dim, dim, generator))
        self.compare = nn.Parameter(torch.eye(dim) + _matrix(dim, dim, generator))
        n_features = 8 * dim + 1
        linear = torch.zeros(n_features)
        linear[-1] = 1
        self.linear = nn.Parameter(linear)
        self.hidden = nn.Parameter(_matrix(n_features, 2 * dim, generator))
        self.hidden_bias = nn.Parameter(torch.zeros(2 * dim))
        self.out = nn.Parameter(torch.zeros(2 * dim))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, lists: Lists, embedding: Tensor) -> Read:
        """What the network makes of the lists, given its item table, float32[n_items, dim]."""
        past = looked_up(embedding, lists.item) * lists.read.unsqueeze(2)
        candidate = looked_up(embedding, lists.candidate)
        interest = self.to_clicks(candidate, past, lists.click)
        disinterest = self.to_others(candidate, past, lists.read & ~lists.click)
        mixed = self.to_mixed(candidate, self.mixed(past, lists), lists.read)
        pattern = self.pattern(past, lists.list_number, lists.click, lists.read)
        difference = (candidate - candidate.mean(1, keepdim=True)) @ self.compare
        products = [interest * candidate, disinterest * candidate, mixed * candidate, pattern.unsqueeze(1) * difference]
        feature = torch.cat([candidate, interest, disinterest, mixed, *products, lists.base.unsqueeze(2)], 2)
        curved = functional.gelu(feature @ self.hidden + self.hidden_bias) @ self.out
        return Read(feature @ self.linear + curved + self.bias, interest, disinterest, pattern, difference)

    def mixed(self, past: Tensor, lists: Lists) -> Tensor:
        """Each past item with its own feedback and, fading with distance, the items and feedback before it."""
        given = self.feedback.index_select(0, lists.click.long().flatten()).reshape(past.shape)
        own = (past + given) * lists.read.unsqueeze(2)
        position = torch.arange(past.shape[1])
        back = position.unsqueeze(1) - position
        weight = torch.sigmoid(self.decay_logit) ** back.clamp(min=1) * (back > 0)
        return functional.gelu(own @ self.mix_own + (weight @ own) @ self.mix_context) * lists.read.unsqueeze(2)

    def pattern(self, x: Tensor, list_number: Tensor, click: Tensor, counts: Tensor) -> Tensor:
        """How clicked items differ from unclicked ones of the same list, on average.

        Args:
            x: float32[n, h, dim].
            list_number: int64[n, h].
            click: bool[n, h].
            counts: bool[n, h].

        Returns:
            float32[n, dim]; zeros where every list has one item.
        """
        together = (list_number.unsqueeze(2) == list_number.unsqueeze(1)) & counts.unsqueeze(1)
        share = together / together.sum(2, keepdim=True).clamp(min=1)
        difference = (x - share @ x) @ self.compare
        sign = (2.0 * click - 1.0) * counts
        return (difference * sign.unsqueeze(2)).sum(1) / counts.sum(1, keepdim=True).clamp(min=1)


def disentanglement(read: Read, past: Tensor, clicked: Tensor, unclicked: Tensor) -> Tensor:
    """How little interest is nearer to clicked than to unclicked items, and disinterest the other way round.

    Args:
        read: of n lists.
        past: float32[n, h, dim], the items of the histories.
        clicked, unclicked: bool[n, h].

    Returns:
        A scalar: -log sigmoid of the differences of cosines, over the lists with clicked and unclicked items; 0 if
        there are none.
    """
    both = (clicked.any(1) & unclicked.any(1)).float()

    def mean(chosen: Tensor) -> Tensor:
        return (past * chosen.unsqueeze(2)).sum(1) / chosen.sum(1, keepdim=True).clamp(min=1)

    liked, other = mean(clicked), mean(unclicked)
    loss = torch.zeros(len(past))
    for vector, near, far in ((read.interest, liked, other), (read.disinterest, other, liked)):
        mine = vector.mean(1)
        margin = functional.cosine_similarity(mine, near) - functional.cosine_similarity(mine, far)
        loss = loss - functional.logsigmoid(margin)
    return (loss * both).sum() / both.sum().clamp(min=1)


def contrast(past: Tensor, present: Tensor) -> Tensor:
    """InfoNCE of each user's past pattern finding the present one of the same user among those of the batch.

    Args:
        past, present: float32[n, dim]; users without either pattern (zeros) are left out.

    Returns:
        A scalar; 0 if fewer than two users are left. The temperature of the cosines is 0.2.
    """
    there = (past.abs().sum(1) > 0) & (present.abs().sum(1) > 0)
    past, present = functional.normalize(past[there]), functional.normalize(present[there])
    if len(past) < 2:
        return torch.zeros(())
    return functional.cross_entropy(past @ present.T / 0.2, torch.arange(len(past)))


def looked_up(embedding: Tensor, item: Tensor) -> Tensor:
    """The vectors of some items: float[..., dim] from float[n_items, dim] and int64[...]."""
    vector: Tensor = embedding.index_select(0, item.flatten()).reshape(*item.shape, -1)
    return vector


def _matrix(rows: int, columns: int, generator: torch.Generator) -> Tensor:
    noise: Tensor = torch.randn((rows, columns), generator=generator) * 0.1 * rows**-0.5
    return noise
