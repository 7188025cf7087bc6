"""The bare step that ours is held against, as a side of `benchmarks/training.py`: forward, backward, update, no more.

Written apart from `recommenders`, in plain torch, for one batch of tensors that is made beforehand and used over and
over: full sequences, fixed labels, fixed negatives. No log is cut, nothing is shuffled, padded, sampled, looked up or
checked, there are no weights of labels and no item that the log has not shown. The network is ours: item and position
embeddings, blocks of normalisation, causal attention and a network of two layers, dropout on the input, the attention
weights and both outputs, tied output with a bias. So is the loss, a softmax over the label and shared negatives. Each
is in the fastest form that we know: dropout from whole random bytes, attention as two batched products, the gradient of
the loss written out, torch's fused AdamW. Negatives are shared by as many windows as ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.peers.job import Clock, Job, Log, cut

STEPS = 16
"""Steps in what is told as an epoch."""


class SampledSoftmax(torch.autograd.Function):
    """Mean of -log softmax at the label, over the label and its group's negatives; the gradient is made on the way.

    Takes states [g, n, d], the labels' vectors and biases [g, n, d] and [g, n], the negatives' [g, m, d] and [g, m].
    """

    @staticmethod
    def forward(
        ctx: Any, state: Tensor, label_vector: Tensor, label_bias: Tensor, vector: Tensor, bias: Tensor
    ) -> Tensor:
        negative = torch.baddbmm(bias.unsqueeze(1), state, vector.transpose(1, 2))
        positive = torch.linalg.vecdot(state, label_vector) + label_bias
        highest = negative.amax(2)
        share = negative.softmax(2)
        margin = highest - share.amax(2).log() - positive
        wrong = margin.sigmoid() / margin.numel()
        share.mul_(wrong.unsqueeze(2))
        to_state = torch.bmm(share, vector).addcmul_(label_vector, wrong.unsqueeze(2), value=-1)
        to_label = state * -wrong.unsqueeze(2)
        ctx.save_for_backward(to_state, to_label, -wrong, torch.bmm(share.transpose(1, 2), state), share.sum(1))
        return functional.softplus(margin).mean()

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> tuple[Tensor, ...]:
        """For a loss that nothing is done with."""
        gradients: tuple[Tensor, ...] = ctx.saved_tensors
        return gradients


def main() -> None:
    """Time steps on one batch."""
    job = Job.from_command_line()
    torch.set_num_threads(job.threads)
    torch.manual_seed(job.seed)
    step, clock = bare_step(job, Log.load(job.log)), Clock()
    for _ in range(STEPS):
        step()
    clock.note()
    for _ in range(job.epochs - 1):
        for _ in range(STEPS):
            step()
        clock.note()
    clock.timing(f"bare step, torch {torch.__version__}", STEPS * job.batch_size).tell()


def bare_step(job: Job, log: Log) -> Callable[[], None]:
    """A training step on a batch of the log's first full sequences."""
    sequences = cut(log, job.window)
    length = torch.bincount(torch.from_numpy(sequences.sequence)).tolist()
    full = torch.split(torch.from_numpy(sequences.item), length)
    row = torch.stack([part for part in full if len(part) == job.window + 1][: job.batch_size]).long()
    row = row.repeat(-(-job.batch_size // len(row)), 1)[: job.batch_size]
    item, label = row[:, :-1].flatten(), row[:, 1:].flatten()
    groups = job.batch_size // (job.shared_by or job.batch_size)
    negative = torch.stack([torch.randperm(log.n_items)[: job.negatives] for _ in range(groups)])
    grouped = (groups, -1, job.dim)
    shape = (job.batch_size, job.window, job.dim)
    hidden = torch.full((job.window, job.window), -torch.inf).triu(1)
    parameters: list[Tensor] = []

    def parameter(*size: int, value: float | None = None) -> Tensor:
        made = torch.randn(size) * job.dim**-0.5 if value is None else torch.full(size, value)
        parameters.append(made.requires_grad_())
        return made

    def norm() -> Callable[[Tensor], Tensor]:
        weight, bias = parameter(job.dim, value=1.0), parameter(job.dim, value=0.0)
        return lambda x: functional.layer_norm(x, (job.dim,), weight, bias)

    def linear() -> Callable[[Tensor], Tensor]:
        weight, bias = parameter(job.dim, job.dim), parameter(job.dim, value=0.0)
        return lambda x: functional.linear(x, weight, bias)

    def drop(x: Tensor) -> Tensor:
        byte = torch.empty(-(-x.numel() // 8), dtype=torch.int64).random_(-(2**63), None).view(torch.uint8)
        return x * (byte[: x.numel()].view(x.shape) >= round(256 * job.dropout)).float().mul_(1 / (1 - job.dropout))

    def split(x: Tensor) -> Tensor:
        return x if job.heads == 1 else x.view(*shape[:2], job.heads, -1).transpose(1, 2).flatten(0, 1)

    def merge(x: Tensor) -> Tensor:
        return x if job.heads == 1 else x.view(-1, job.heads, *x.shape[1:]).transpose(1, 2).reshape(shape)

    def block() -> Callable[[Tensor], Tensor]:
        before, between = norm(), norm()
        query, key, value, output, widen, narrow = (linear() for _ in range(6))
        scale = (job.dim // job.heads) ** -0.5

        def apply(x: Tensor) -> Tensor:
            y = before(x)
            logit = torch.baddbmm(hidden, split(query(y)), split(key(y)).transpose(1, 2), alpha=scale)
            x = x + drop(output(merge(torch.bmm(drop(logit.softmax(-1)), split(value(y))))))
            return x + drop(narrow(functional.relu(widen(between(x)))))

        return apply

    table, table_bias, position = parameter(log.n_items, job.dim), parameter(log.n_items), parameter(*shape[1:])
    blocks, last = [block() for _ in range(job.blocks)], norm()
    optimiser = torch.optim.AdamW(parameters, lr=job.learning_rate, fused=True)

    def step() -> None:
        x = drop(table.index_select(0, item).view(shape) + position)
        for apply in blocks:
            x = apply(x)
        loss = SampledSoftmax.apply(  # type: ignore[no-untyped-call]
            last(x).view(grouped),
            table.index_select(0, label).view(grouped),
            table_bias.index_select(0, label).view(groups, -1),
            table.index_select(0, negative.flatten()).view(grouped),
            table_bias.index_select(0, negative.flatten()).view(groups, -1),
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


if __name__ == "__main__":
    main()
