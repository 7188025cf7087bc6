"""The one training loop: seeded, deterministic on the CPU, and loud when a loss stops being a number."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from recommenders.base import Progress, RecommenderError


def train(
    model: nn.Module,
    batch_loss: Callable[[Tensor], Tensor],
    n_rows: int,
    *,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    weight_decay: float,
    generator: torch.Generator,
    progress: Progress | None = None,
) -> None:
    """Minimise a loss over shuffled minibatches with AdamW, changing the model in place.

    Args:
        model: its parameters are trained.
        batch_loss: from row numbers, int64[b], to a scalar loss.
        n_rows: number of training rows; with none, nothing happens.
        epochs: passes over the rows.
        batch_size: rows per step; the last step of an epoch may have fewer.
        learning_rate, weight_decay: of AdamW. The rate falls linearly to a tenth over the run.
        generator: the only source of randomness; `batch_loss` may draw from it too.
        progress: called as `progress(steps done, steps in all)` after each step.

    Raises:
        RecommenderError: the loss became infinite or NaN; names the epoch and the step.

    Source: Loshchilov & Hutter 2019, ICLR (AdamW).
    """
    steps_per_epoch = -(-n_rows // batch_size)
    total = epochs * steps_per_epoch
    optimiser = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    for epoch in range(epochs):
        order = torch.randperm(n_rows, generator=generator)
        for step, rows in enumerate(torch.split(order, batch_size) if n_rows else ()):
            done = epoch * steps_per_epoch + step
            for group in optimiser.param_groups:
                group["lr"] = learning_rate * (1 - 0.9 * done / total)
            optimiser.zero_grad(set_to_none=True)
            loss = batch_loss(rows)
            if not torch.isfinite(loss):
                raise RecommenderError(
                    f"training: got loss {loss.item()} at epoch {epoch + 1}, step {step + 1}, expected a finite number;"
                    " a smaller learning_rate or label weight usually helps"
                )
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            if progress is not None:
                progress(done + 1, total)
