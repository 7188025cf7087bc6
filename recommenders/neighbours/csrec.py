"""CSRec: a student that is trained on soft labels of several teachers beside the one-hot labels of the log.

Teachers are trained first. The mean of their softmaxes, averaged with the one-hot label, is the confident soft label q:
no teacher's error can outvote what happened. The student's loss of a positive label y is

    L = (1 - beta) CE(one-hot, p) + beta KL(q || p),    q = (one-hot + mean over teachers of softmax(z_teacher / T)) / 2

Up to the entropy of q, which no parameter changes, it is -log p_y + beta / 2 (z_y - sum over j of soft_j z_j) with the
teachers' mean softmax `soft` and the student's logits z: that is what is computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from recommenders.base import Config, Interactions, ItemFeatures, Progress
from recommenders.gru4rec import Gru4Rec, Gru4RecConfig
from recommenders.network import Network, combination_of
from recommenders.objective import Batch, Objective, training_data
from recommenders.sampling import Negatives, sampled_logits
from recommenders.sasrec import SasRec, SasRecConfig, SasRecEncoder
from recommenders.sequence_model import SequenceRecommender
from recommenders.sequences import Windows

Teacher = Literal["sasrec", "gru4rec"]
PROGRESS_STEPS = 1_000
"""Of each model in turn, as told to `progress`: their numbers of steps differ."""


class CsRecConfig(SasRecConfig):
    """Settings of CSRec; what it shares with the attention model holds for the teachers, too."""

    teachers: Annotated[tuple[Teacher, ...], Field(min_length=1)] = ("sasrec", "gru4rec")
    """The teachers' encoders; one that is named twice is trained from two seeds."""
    level: Literal["model", "data"] = "model"
    """Where the teachers differ: `model` trains them on the whole log, `data` each on a random share of the users."""
    data_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    """Share of the users whose interactions a data-level teacher sees."""
    soft_label_weight: Annotated[float, Field(ge=0, le=1)] = 0.5
    """beta: weight of the soft labels."""
    temperature: Annotated[float, Field(gt=0)] = 1.0
    """T: the teachers' logits are divided by it."""


class CsRec(SequenceRecommender):
    """Attention model trained on the soft labels of an ensemble of teachers.

    Source: Wu et al. 2023, arXiv 2311.02446: CSRec-M (`level: model`) and CSRec-D (`level: data`); their third,
    CSRec-T, whose teacher goes on training together with the student, is not here. Ours: soft labels are over the
    label and the sampled negatives of a step (as published with `negatives: 0`), weighted by rewards, and negative
    labels, if there are any, are trained on as in the core, by the teachers and by the student; the defaults.
    """

    config_class: ClassVar[type[Config]] = CsRecConfig

    def __init__(self, config: CsRecConfig) -> None:
        self._settings = config
        self._teachers: list[Network] = []
        super().__init__(
            config, lambda _, generator: SasRecEncoder(config, generator), make_objective=self._soft_labels
        )

    def fit(self, log: Interactions, items: ItemFeatures, *, seed: int, progress: Progress | None = None) -> None:
        """Train the teachers, always from scratch, then the student on their labels; only the student is kept."""
        rng = np.random.default_rng(seed)
        self._teachers = []
        n_models = len(self._settings.teachers) + 1
        for i, kind in enumerate(self._settings.teachers):
            teacher = build_teacher(kind, self._settings)
            known = log if self._settings.level == "model" else share_of_users(log, self._settings.data_share, rng)
            teacher.fit(known, items, seed=int(rng.integers(2**31)), progress=_part(progress, i, n_models))
            self._teachers.append(teacher.network)
        super().fit(log, items, seed=seed, progress=_part(progress, n_models - 1, n_models))
        self._teachers = []

    def _soft_labels(
        self, network: Network, windows: Windows, candidate: Tensor, generator: torch.Generator
    ) -> SoftLabels:
        return SoftLabels(network, self._teachers, self._settings, windows, candidate, generator)


class SoftLabels(Objective):
    """The core's loss, and what confident soft labels add to it."""

    def __init__(
        self,
        network: Network,
        teachers: Sequence[Network],
        config: CsRecConfig,
        windows: Windows,
        candidate: Tensor,
        generator: torch.Generator,
    ) -> None:
        combination = combination_of(config.input_flags())
        super().__init__(network, config, training_data(windows, config, combination, candidate), generator)
        self.settings = config
        self.teachers = teachers

    def loss(self, batch: Batch, rows: Tensor, positive: Tensor, negative: Negatives) -> Tensor:
        """The summed losses of a batch: a scalar."""
        log_q = negative.log_q if self.settings.logq_correction else None
        logit = sampled_logits(*batch.scored(positive), negative.item, log_q=log_q)
        soft = self.soft_label(batch, rows, positive, negative)
        # A masked candidate, the label among the negatives, has logit -inf and no share of the soft label.
        expected = (soft * logit.masked_fill(soft == 0, 0)).sum(1)
        added = batch.weight[positive] * (logit[:, 0] - expected)
        return super().loss(batch, rows, positive, negative) + self.settings.soft_label_weight / 2 * added.sum()

    @torch.no_grad()
    def soft_label(self, batch: Batch, rows: Tensor, positive: Tensor, negative: Negatives) -> Tensor:
        """The teachers' mean softmax over label and negatives: float32[p, 1 + m]; rows sum to 1."""
        data, label = self.data, batch.label[positive]
        log_q = negative.log_q if self.settings.logq_correction else None
        total = torch.zeros(len(positive), 1 + len(negative.item), device=label.device)
        for teacher in self.teachers:
            embedding, bias = teacher.embedding(), teacher.bias().squeeze(1)
            states = teacher.states(embedding, data.item[rows], data.combination[rows], data.length[rows])
            state = states.flatten(0, 1).index_select(0, positive)
            logit = sampled_logits(state, embedding, bias, label, negative.item, log_q=log_q)
            total += (logit / self.settings.temperature).softmax(1)
        return total / len(self.teachers)


def build_teacher(kind: Teacher, config: CsRecConfig) -> SequenceRecommender:
    """A teacher that has not been fitted, with all the student's settings that it knows."""
    settings = config.model_dump(exclude={"warm_start"})
    if kind == "sasrec":
        return SasRec(SasRecConfig(**{name: settings[name] for name in SasRecConfig.model_fields if name in settings}))
    return Gru4Rec(Gru4RecConfig(**{name: settings[name] for name in Gru4RecConfig.model_fields if name in settings}))


def share_of_users(log: Interactions, share: float, rng: np.random.Generator) -> Interactions:
    """The interactions of a random share of the users, of at least one if there are any."""
    users = np.unique(log.user)
    chosen = rng.permutation(users)[: max(round(share * len(users)), 1)]
    return log.take(np.isin(log.user, chosen))


def _part(progress: Progress | None, i: int, n: int) -> Progress | None:
    """Progress of the i-th of n models, told as progress of all."""
    if progress is None:
        return None
    tell = progress
    return lambda done, total: tell(PROGRESS_STEPS * i + PROGRESS_STEPS * done // total, PROGRESS_STEPS * n)
