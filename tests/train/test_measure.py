from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.methods.schedule import MethodSchedule, MethodState
from marblecli.settings import BalanceSettings
from marblecli.train.gradients.reward_gradients import RewardGradients
from marblecli.train.measure import (
    BalancePlan,
    Measurement,
    gradient_faults,
    measure,
)
from marblecli.types import RewardFault, RewardTable

NAN = float("nan")


def gradients(*rows: tuple[float, ...], penalty: float = 0.0) -> RewardGradients:
    """Gradients from one row for each reward. The last number is the second parameter's."""
    stacked = torch.tensor(rows)
    blocks = [stacked[None, :, :-1], stacked[None, :, -1:]]
    return RewardGradients(blocks, [torch.full_like(block[0, 0], penalty) for block in blocks])


def table(names: str, counts: tuple[int, ...], faults: tuple[RewardFault, ...] = ()) -> RewardTable:
    """A table of 4 images; each reward applies to the given number of them."""
    valid = np.arange(4)[:, None] < np.array(counts)
    return RewardTable(tuple(names), np.zeros(valid.shape), valid, faults)


def plan(method: str, loss_weights: np.ndarray) -> BalancePlan:
    schedule = MethodSchedule.of(BalanceSettings(method=method))
    return BalancePlan(schedule, loss_weights, 1, MethodState())


def measured(
    method: str, *rows: tuple[float, ...], counts: tuple[int, ...] | None = None
) -> Measurement:
    """The measurement, with loss weights 1, 3, 5, ..."""
    names = "abcdef"[: len(rows)]
    return measure(
        gradients(*rows),
        table(names, counts or (4,) * len(rows)),
        plan(method, np.arange(1.0, 2 * len(rows), 2)),
    )


def flat(parts: list[Tensor]) -> list[float]:
    return torch.cat([part.flatten() for part in parts]).tolist()


def test_orthogonal_gradients_worked_by_hand() -> None:
    """Norms 3 and 4: equal simplex weights, s = 3.5, lambda = 1.75/3 and 1.75/4."""
    result = measured("marble", (3.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    assert result.balance.coefficients == pytest.approx([1.75 / 3, 1.75 / 4])
    assert flat(result.direction()) == pytest.approx([1.75, 0.0, 1.75])


def test_the_penalty_is_stepped_but_not_balanced() -> None:
    rows = gradients((3.0, 0.0, 0.0), (0.0, 0.0, 4.0), penalty=0.25)
    result = measure(rows, table("ab", (4, 4)), plan("marble", np.ones(2)))
    assert result.balance.coefficients == pytest.approx([1.75 / 3, 1.75 / 4])
    assert flat(result.direction()) == pytest.approx([2.0, 0.25, 2.0])


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_named_and_left_out(bad: float) -> None:
    result = measured("marble", (3.0, 0.0, 0.0), (1.0, bad, 1.0), (0.0, 0.0, 4.0))
    assert gradient_faults(result) == ["b: its gradient is not finite"]
    assert flat(result.direction()) == pytest.approx([1.75, 0.0, 1.75])
    assert result.balance.coefficients == pytest.approx([1.75 / 3, 0.0, 1.75 / 4])
    assert result.stats.norms.tolist() == [3.0, 0.0, 4.0]
    assert result.stats.gram.tolist() == [[9.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 16.0]]


def test_a_reward_without_images_or_with_a_zero_gradient_is_no_fault() -> None:
    result = measured("marble", (3.0, 0.0, 0.0), (NAN, NAN, NAN), (0.0, 0.0, 0.0), counts=(4, 0, 4))
    assert gradient_faults(result) == []
    assert result.stats.usable.tolist() == [True, False, False]
    assert flat(result.direction()) == pytest.approx([3.0, 0.0, 0.0])


def test_without_a_usable_gradient_the_error_gives_the_reason_for_each_reward() -> None:
    faults = (RewardFault("b", "RuntimeError: no driver", 4),)
    with pytest.raises(MarbleError) as caught:
        measure(
            gradients((NAN, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 0.0)),
            table("abc", (4, 0, 4), faults),
            plan("marble", np.ones(3)),
        )
    assert str(caught.value) == (
        "no reward has a usable gradient: a: its gradient is not finite; "
        "b: RuntimeError: no driver; c: its gradient is zero"
    )
    assert caught.value.exit_code == 1
