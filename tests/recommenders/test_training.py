from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from recommenders.base import RecommenderError
from recommenders.training import _AdamW, train


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor([0.5, -1.0]))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_minimises_the_loss_and_reports_each_step() -> None:
    model, x = Line(), torch.randn(64, 2, generator=seeded(1))
    target = x @ torch.tensor([2.0, 3.0])
    seen: list[tuple[int, int]] = []
    train(
        model,
        lambda rows: (x[rows] @ model.slope - target[rows]).square().mean(),
        64,
        epochs=100,
        batch_size=24,
        learning_rate=0.1,
        weight_decay=0.0,
        generator=seeded(2),
        progress=lambda done, total: seen.append((done, total)),
    )
    torch.testing.assert_close(model.slope.detach(), torch.tensor([2.0, 3.0]), rtol=1e-3, atol=1e-3)
    assert seen == [(i + 1, 300) for i in range(300)]


def test_every_row_comes_once_an_epoch_in_an_order_of_the_seed() -> None:
    orders = []
    for seed in (1, 1, 2):
        model, rows_seen = Line(), []

        def loss(rows: Tensor, model: Line = model, seen: list[int] = rows_seen) -> Tensor:
            seen.extend(rows.tolist())
            return model.slope.sum()

        train(
            model, loss, 10, epochs=2, batch_size=4, learning_rate=0.1, weight_decay=0.0, generator=seeded(seed)
        )  # fmt: skip
        assert sorted(rows_seen[:10]) == sorted(rows_seen[10:]) == list(range(10))
        orders.append(rows_seen)
    assert orders[0] == orders[1] != orders[2]


def test_adamw_equals_torch() -> None:
    ours, theirs = Line(), Line()
    a, b = _AdamW([ours.slope], 0.1), torch.optim.AdamW(theirs.parameters(), lr=0.05, weight_decay=0.1)
    for step in range(20):
        gradient = torch.randn(2, generator=seeded(step))
        a.step([gradient], 0.05)
        theirs.slope.grad = gradient.clone()
        b.step()
    torch.testing.assert_close(ours.slope, theirs.slope, rtol=1e-5, atol=1e-6)


def test_adamw_reads_a_transposed_gradient_as_it_is() -> None:
    parameter = nn.Parameter(torch.zeros(3, 2))
    gradient = torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, -1.0]]).T
    _AdamW([parameter], 0.0).step((gradient,), 0.1)
    torch.testing.assert_close(parameter.detach(), -0.1 * gradient)


def test_patience_stops_and_puts_the_best_epoch_back() -> None:
    losses = [3.0, 1.0, 1.0, 2.0, 0.5]
    model, after_epoch, steps = Line(), [], []

    def held_out() -> float:
        assert not model.training
        after_epoch.append(model.slope.detach().clone())
        return losses[len(after_epoch) - 1]

    train(
        model,
        lambda rows: model.slope.sum(),
        4,
        epochs=5,
        batch_size=2,
        learning_rate=0.1,
        weight_decay=0.0,
        generator=seeded(1),
        progress=lambda done, total: steps.append(done),
        held_out_loss=held_out,
        patience=2,
    )
    # The fourth epoch is the second without a loss below 1; the fifth, which would have been better, never comes.
    assert len(after_epoch) == 4
    assert torch.equal(model.slope, after_epoch[1])
    assert steps == [*range(1, 9), 10]
    assert not model.training


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_an_error(bad: float) -> None:
    model = Line()
    with pytest.raises(RecommenderError, match=r"epoch 1, step 1, expected a finite number"):
        train(
            model,
            lambda rows: model.slope.sum() * bad,
            4,
            epochs=1,
            batch_size=2,
            learning_rate=0.1,
            weight_decay=0.0,
            generator=seeded(1),
        )
