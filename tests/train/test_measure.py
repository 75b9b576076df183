from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.methods.balance import BalanceState
from marblecli.settings import BalanceSettings
from marblecli.train.gradients import RewardGradients
from marblecli.train.measure import (
    BalancePlan,
    Measurement,
    conflict_record,
    gradient_faults,
    measure,
)
from marblecli.types import RewardFault, RewardTable

NAN = float("nan")


def gradients(*rows: tuple[float, ...], penalty: float = 0.0) -> RewardGradients:
    """One row a reward, over two parameters: all numbers but the last, and the last."""
    stacked = torch.tensor(rows)
    blocks = [stacked[None, :, :-1], stacked[None, :, -1:]]
    return RewardGradients(blocks, [torch.full_like(block[0, 0], penalty) for block in blocks])


def table(names: str, counts: tuple[int, ...], faults: tuple[RewardFault, ...] = ()) -> RewardTable:
    """Rewards that apply to the first so many of 4 images."""
    valid = np.arange(4)[:, None] < np.array(counts)
    return RewardTable(tuple(names), np.zeros(valid.shape), valid, faults)


def plan(method: str, loss_weights: np.ndarray) -> BalancePlan:
    return BalancePlan(BalanceSettings(method=method), loss_weights, 1, BalanceState())


def measured(
    method: str, *rows: tuple[float, ...], counts: tuple[int, ...] | None = None
) -> Measurement:
    """With loss weights 1, 3, 5, ..."""
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
    record = conflict_record(7, result, {"applied": result.direction()})
    assert (record.step, record.rewards, record.valid) == (7, ("a", "b"), (4, 4))
    assert record.norms == (3.0, 4.0)
    assert record.gram == ((9.0, 0.0), (0.0, 16.0))
    assert record.simplex_weights == pytest.approx((0.5, 0.5))
    assert record.coefficients == pytest.approx((1.75 / 3, 1.75 / 4))
    assert record.cosines["applied"] == pytest.approx((math.sqrt(0.5),) * 2)
    # Weights 1 and 3 on the raw gradients: (3, 12), at cosines 3/sqrt(153) and 12/sqrt(153).
    expected = (3 / math.sqrt(153), 12 / math.sqrt(153))
    assert record.cosines["weighted-sum"] == pytest.approx(expected)


@pytest.mark.parametrize("method", ["marble", "weighted-sum", "equal"])
def test_cosines_from_the_gram_are_those_of_the_gradients_themselves(method: str) -> None:
    rows = torch.randn(4, 50, generator=torch.Generator().manual_seed(3)).double()
    rows *= torch.tensor([[1.0], [10.0], [0.1], [3.0]])
    result = measure(
        RewardGradients(
            [rows[None, :, :20], rows[None, :, 20:]], [torch.zeros(20), torch.zeros(30)]
        ),
        table("abcd", (4, 3, 2, 1)),
        plan(method, np.array([1.0, 2.0, 3.0, 4.0])),
    )
    record = conflict_record(1, result, {"applied": result.direction()})
    weighted = (torch.tensor([1.0, 2.0, 3.0, 4.0]).double()[:, None] * rows).sum(0)
    applied = (torch.from_numpy(result.balance.coefficients)[:, None] * rows).sum(0)
    for name, direction in (("weighted-sum", weighted), ("applied", applied)):
        direct = torch.cosine_similarity(rows, direction[None], dim=1).tolist()
        assert record.cosines[name] == pytest.approx(direct, abs=1e-12)


def test_a_step_against_a_reward_has_a_negative_cosine() -> None:
    result = measured("equal", (3.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    step = [torch.tensor([-2.0, 0.0]), torch.tensor([0.0])]
    record = conflict_record(1, result, {"update": step})
    assert record.cosines["update"] == pytest.approx((-1.0, 0.0))


def test_no_step_has_no_cosine() -> None:
    result = measured("equal", (3.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    still = [torch.zeros(2), torch.zeros(1)]
    assert conflict_record(1, result, {"update": still}).cosines["update"] == (None, None)


def test_the_penalty_is_stepped_but_not_balanced() -> None:
    rows = gradients((3.0, 0.0, 0.0), (0.0, 0.0, 4.0), penalty=0.25)
    result = measure(rows, table("ab", (4, 4)), plan("marble", np.ones(2)))
    assert result.balance.coefficients == pytest.approx([1.75 / 3, 1.75 / 4])
    assert flat(result.direction()) == pytest.approx([2.0, 0.25, 2.0])


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_is_named_and_left_out(bad: float) -> None:
    result = measured("marble", (3.0, 0.0, 0.0), (1.0, bad, 1.0), (0.0, 0.0, 4.0))
    assert gradient_faults(result) == ["b: its gradient is not finite"]
    record = conflict_record(1, result, {"applied": result.direction()})
    assert flat(result.direction()) == pytest.approx([1.75, 0.0, 1.75])
    assert record.coefficients == pytest.approx((1.75 / 3, 0.0, 1.75 / 4))
    assert record.norms == (3.0, 0.0, 4.0)
    assert record.gram == ((9.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 16.0))
    assert record.cosines["applied"] == (
        pytest.approx(math.sqrt(0.5)),
        None,
        pytest.approx(math.sqrt(0.5)),
    )
    assert record.cosines["weighted-sum"][1] is None


def test_a_reward_that_applies_to_nothing_or_pulls_nowhere_is_no_fault() -> None:
    result = measured("marble", (3.0, 0.0, 0.0), (NAN, NAN, NAN), (0.0, 0.0, 0.0), counts=(4, 0, 4))
    assert gradient_faults(result) == []
    assert result.stats.usable.tolist() == [True, False, False]
    assert flat(result.direction()) == pytest.approx([3.0, 0.0, 0.0])


def test_without_any_usable_gradient_the_error_says_why_of_each() -> None:
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
