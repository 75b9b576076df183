from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.engine.reduction import ALONE
from marblecli.maths.gram import gradient_stats, gram_matrix, part_grams, whole_gram
from marblecli.methods.schedule import MethodState
from marblecli.train.gradients.reward_gradients import PARTS, WHOLE, RewardGradients
from marblecli.train.measure import Measurement
from marblecli.train.record import conflict_record
from marblecli.types import Balance, FloatArray

NAN = float("nan")


def alone(products: FloatArray) -> FloatArray:
    """The sum over the one process that there is."""
    return products


def gradients(parts: Tensor) -> RewardGradients:
    """From [P, K, d], over two parameters: the first two numbers, and the others."""
    blocks = [parts[..., :2], parts[..., 2:]]
    names = WHOLE if len(parts) == 1 else PARTS
    return RewardGradients(blocks, [torch.zeros_like(block[0, 0]) for block in blocks], names)


def measurement(parts: Tensor, coefficients: Sequence[float]) -> Measurement:
    """A batch of four images, with loss weights 1, 3, 5, ..."""
    found, rewards = gradients(parts), parts.shape[1]
    gram = gram_matrix(block.flatten(0, 1) for block in found.blocks)
    stats = gradient_stats("abcdef"[:rewards], whole_gram(gram, rewards), (4,) * rewards)
    chosen = np.array(coefficients)
    return Measurement(
        gradients=found,
        stats=stats,
        balance=Balance(chosen / chosen.sum(), chosen, kkt_residual=0.0),
        state=MethodState(),
        valid=(4,) * rewards,
        loss_weights=np.arange(1.0, 2 * rewards, 2),
        parts=part_grams(gram, stats.usable) if len(parts) == 3 else None,
        reduction=ALONE,
    )


def whole(*rows: tuple[float, ...]) -> Measurement:
    """Gradients that weren't measured in parts, each with coefficient 1."""
    return measurement(torch.tensor(rows)[None], (1.0,) * len(rows))


def cosines(vectors: Tensor, direction: Tensor) -> list[float]:
    found: list[float] = torch.cosine_similarity(vectors, direction[None], dim=1).tolist()
    return found


def test_orthogonal_gradients_worked_by_hand() -> None:
    measured = measurement(torch.tensor([[[3.0, 0.0, 0.0], [0.0, 0.0, 4.0]]]), (0.4, 0.3))
    record = conflict_record(7, measured, {"applied": measured.direction()}, alone)
    assert (record.step, record.rewards, record.valid) == (7, ("a", "b"), (4, 4))
    assert record.norms == (3.0, 4.0)
    assert record.gram == ((9.0, 0.0), (0.0, 16.0))
    assert record.coefficients == (0.4, 0.3)
    assert record.cosines["applied"] == pytest.approx((math.sqrt(0.5),) * 2)
    # Weights 1 and 3 on the raw gradients: (3, 12), at cosines 3/sqrt(153) and 12/sqrt(153).
    expected = (3 / math.sqrt(153), 12 / math.sqrt(153))
    assert record.cosines["weighted-sum"] == pytest.approx(expected)
    assert (record.parts, record.fresh, record.signal_cosines) == (None, None, {})


def test_cosines_from_the_gram_are_those_of_the_gradients_themselves() -> None:
    rows = torch.randn(4, 50, generator=torch.Generator().manual_seed(3)).double()
    rows *= torch.tensor([[1.0], [10.0], [0.1], [3.0]])
    measured = measurement(rows[None], (1.0, 0.2, 5.0, 0.7))
    record = conflict_record(1, measured, {"applied": measured.direction()}, alone)
    weighted = (torch.tensor([1.0, 3.0, 5.0, 7.0]).double()[:, None] * rows).sum(0)
    applied = (torch.from_numpy(measured.balance.coefficients)[:, None] * rows).sum(0)
    for name, direction in (("weighted-sum", weighted), ("applied", applied)):
        assert record.cosines[name] == pytest.approx(cosines(rows, direction), abs=1e-12)


def test_parts_and_new_images_have_the_cosines_of_their_vectors() -> None:
    drawn = torch.randn(2, 3, 2, 8, generator=torch.Generator().manual_seed(1)).double()
    measured, fresh = measurement(drawn[0], (1.0, 2.0)), gradients(drawn[1])
    record = conflict_record(1, measured, {"applied": measured.direction()}, alone, fresh)
    applied = (torch.tensor([[1.0], [2.0]]).double() * drawn[0].sum(0)).sum(0)
    assert record.fresh is not None
    assert record.parts is not None
    found = (record.signal_cosines, record.fresh.cosines, record.fresh.signal_cosines)
    signal, new = drawn[0, :2].sum(0), drawn[1].sum(0)
    for each, vectors in zip(found, (signal, new, drawn[1, :2].sum(0)), strict=True):
        assert each["applied"] == pytest.approx(cosines(vectors, applied), abs=1e-12)
    whole_products = (drawn[1].sum(0) @ drawn[0].sum(0).T).tolist()
    assert record.fresh.products == pytest.approx(np.array(whole_products))
    assert record.parts.grams.cross == pytest.approx((drawn[0, 0] @ drawn[0, 1].T).numpy())


def test_sums_go_over_all_processes() -> None:
    """Two processes that hold the same rows: every product doubles, and no cosine changes."""
    drawn = torch.randn(2, 3, 2, 8, generator=torch.Generator().manual_seed(1)).double()
    measured, fresh = measurement(drawn[0], (1.0, 2.0)), gradients(drawn[1])
    direction = {"update": [torch.ones(2).double(), torch.ones(6).double()]}
    mine = conflict_record(1, measured, direction, alone, fresh)
    both = conflict_record(1, measured, direction, lambda products: 2.0 * products, fresh)
    assert mine.fresh is not None
    assert both.fresh is not None
    assert both.fresh.products == pytest.approx(2.0 * np.array(mine.fresh.products))
    assert both.fresh.cosines["update"] == pytest.approx(mine.fresh.cosines["update"])


def test_a_step_against_a_reward_has_a_negative_cosine() -> None:
    step = [torch.tensor([-2.0, 0.0]), torch.tensor([0.0])]
    measured = whole((3.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    record = conflict_record(1, measured, {"update": step}, alone)
    assert record.cosines["update"] == pytest.approx((-1.0, 0.0))


def test_no_step_has_no_cosine() -> None:
    still = {"update": [torch.zeros(2), torch.zeros(1)]}
    measured = whole((3.0, 0.0, 0.0), (0.0, 0.0, 4.0))
    assert conflict_record(1, measured, still, alone).cosines["update"] == (None, None)


@pytest.mark.parametrize("bad", [NAN, float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_has_no_cosine(bad: float) -> None:
    measured = whole((3.0, 0.0, 0.0), (1.0, bad, 1.0), (0.0, 0.0, 4.0))
    step = [torch.tensor([1.0, 0.0]), torch.tensor([1.0])]
    record = conflict_record(1, measured, {"applied": step}, alone)
    assert record.norms == (3.0, 0.0, 4.0)
    assert record.gram == ((9.0, 0.0, 0.0), (0.0, 0.0, 0.0), (0.0, 0.0, 16.0))
    there = pytest.approx(math.sqrt(0.5))
    assert record.cosines["applied"] == (there, None, there)
    assert record.cosines["weighted-sum"][1] is None
