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
    held_out_loss: Callable[[], float] | None = None,
    patience: int = 0,
) -> None:
    """Minimise a loss over shuffled minibatches with AdamW, changing the model in place.

    Args:
        model: its parameters are trained; it is in training mode meanwhile, and in evaluation mode afterwards.
        batch_loss: from row numbers, int64[b], to a scalar loss.
        n_rows: number of training rows; with none, nothing happens.
        epochs: passes over the rows, at most.
        batch_size: rows per step; the last step of an epoch may have fewer.
        learning_rate, weight_decay: of AdamW. The rate falls linearly to a tenth over the run.
        generator: the only source of randomness; `batch_loss` may draw from it too.
        progress: called as `progress(steps done, steps in all)` after each step.
        held_out_loss: asked after each epoch, in evaluation mode, while `patience` is above 0.
        patience: stop after this many epochs without a better held-out loss; the best epoch's parameters stay. 0 goes
            through all epochs and keeps the last.

    Raises:
        RecommenderError: the loss became infinite or NaN; names the epoch and the step.
    """
    steps_per_epoch = -(-n_rows // batch_size)
    total = epochs * steps_per_epoch
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimiser = _AdamW(parameters, weight_decay)
    best = _Best(parameters)
    for epoch in range(epochs if n_rows else 0):
        model.train()
        order = torch.randperm(n_rows, generator=generator)
        for step, rows in enumerate(torch.split(order, batch_size)):
            done = epoch * steps_per_epoch + step
            loss = batch_loss(rows)
            if not torch.isfinite(loss):
                raise RecommenderError(
                    f"training: got loss {loss.item()} at epoch {epoch + 1}, step {step + 1}, expected a finite number;"
                    " a smaller learning_rate or label weight usually helps"
                )
            gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
            optimiser.step(gradients, learning_rate * (1 - 0.9 * done / total))
            if progress is not None:
                progress(done + 1, total)
        if patience and held_out_loss is not None:
            model.eval()
            with torch.no_grad():
                best.see(held_out_loss())
            if best.epochs_since >= patience:
                if progress is not None:
                    progress(total, total)
                break
    if patience and held_out_loss is not None:
        best.restore()
    model.eval()


class _Best:
    """The parameters of the epoch with the smallest held-out loss so far."""

    def __init__(self, parameters: list[nn.Parameter]) -> None:
        self.parameters = parameters
        self.loss = float("inf")
        self.values: list[Tensor] = []
        self.epochs_since = 0

    def see(self, loss: float) -> None:
        """Take note of the loss after an epoch; of equal ones the first counts."""
        self.epochs_since += 1
        if loss < self.loss:
            self.loss, self.epochs_since = loss, 0
            self.values = [p.detach().clone() for p in self.parameters]

    def restore(self) -> None:
        """Put the best parameters back, if there are any."""
        if self.values:
            with torch.no_grad():
                for parameter, value in zip(self.parameters, self.values, strict=True):
                    parameter.copy_(value)


class _AdamW:
    """Adam with decoupled weight decay: torch's fused kernel, with the betas and epsilon of torch.optim.AdamW.

    The kernel alone, because the first step of any optimiser of torch imports its compiler: 2 to 10 s, more than many
    a training here.

    Source: Loshchilov & Hutter 2019, ICLR.
    """

    def __init__(self, parameters: list[nn.Parameter], weight_decay: float) -> None:
        self.parameters = parameters
        self.weight_decay = weight_decay
        self.mean = [torch.zeros_like(p) for p in parameters]
        self.square = [torch.zeros_like(p) for p in parameters]
        self.steps = [torch.zeros((), device=p.device) for p in parameters]

    @torch.no_grad()
    def step(self, gradients: tuple[Tensor, ...], learning_rate: float) -> None:
        """Move the parameters against their gradients."""
        for steps in self.steps:
            steps.add_(1)
        torch._fused_adamw_(
            tuple(self.parameters),
            # The kernel ignores strides, and gradients of batched products have strides of their own.
            tuple(gradient.contiguous() for gradient in gradients),
            self.mean,
            self.square,
            [],
            self.steps,
            lr=learning_rate,
            beta1=0.9,
            beta2=0.999,
            weight_decay=self.weight_decay,
            eps=1e-8,
            amsgrad=False,
            maximize=False,
        )
