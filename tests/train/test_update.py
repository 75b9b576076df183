from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from marblecli.errors import MarbleError
from marblecli.train.trainer import Trainer
from marblecli.train.update import apply_gradient

Opener = Callable[..., Trainer]


def test_a_gradient_is_clipped_to_the_recipes_norm_and_its_norm_before_is_returned(
    open_tiny: Opener,
) -> None:
    trainer = open_tiny({"training.max_grad_norm": 0.5})
    gradient = [torch.ones_like(parameter) for parameter in trainer.parameters()]
    count = sum(part.numel() for part in gradient)
    assert apply_gradient(trainer, 1, gradient) == pytest.approx(count**0.5)
    assert torch.stack([part.norm() for part in gradient]).norm() == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("element", [1e-4, 1.0])
def test_a_fixed_norm_is_that_of_every_gradient(element: float, open_tiny: Opener) -> None:
    """Up as well as down; without it a short gradient stays as it is."""
    overrides = {"training.max_grad_norm": 0.5}
    for fixed, expected in ((True, 0.5), (False, None)):
        trainer = open_tiny({**overrides, "training.fixed_grad_norm": fixed})
        gradient = [torch.full_like(parameter, element) for parameter in trainer.parameters()]
        norm = apply_gradient(trainer, 1, gradient)
        assert norm == pytest.approx(element * sum(part.numel() for part in gradient) ** 0.5)
        found = torch.stack([part.norm() for part in gradient]).norm()
        assert found == pytest.approx(expected or min(norm, 0.5), rel=1e-4)


def test_a_gradient_of_zero_has_no_fixed_norm(open_tiny: Opener) -> None:
    trainer = open_tiny({"training.fixed_grad_norm": True})
    assert apply_gradient(trainer, 1, [torch.zeros_like(p) for p in trainer.parameters()]) == 0.0
    assert all(parameter.isfinite().all() for parameter in trainer.parameters())


def test_the_old_policy_follows_its_schedule_and_the_average_counts_the_step(
    open_tiny: Opener,
) -> None:
    trainer = open_tiny({"training.old_policy": {"slope": 0.25, "cap": 1.0}})
    policies = trainer.sampler.policies
    before = [p.detach().clone() for p in policies.old_parameters().values()]
    # At step 4 the old policy keeps all of itself.
    apply_gradient(trainer, 4, [torch.ones_like(p) for p in trainer.parameters()])
    for old, kept in zip(policies.old_parameters().values(), before, strict=True):
        torch.testing.assert_close(old.detach(), kept)
    apply_gradient(trainer, 0, [torch.ones_like(p) for p in trainer.parameters()])
    pairs = zip(policies.old_parameters().values(), trainer.parameters(), strict=True)
    assert all(torch.equal(old, trained) for old, trained in pairs)
    assert trainer.average.steps == 2


def test_a_gradient_that_is_not_finite_makes_no_step(open_tiny: Opener) -> None:
    trainer = open_tiny()
    before = [p.detach().clone() for p in trainer.parameters()]
    bad = [torch.full_like(p, float("inf")) for p in trainer.parameters()]
    with pytest.raises(MarbleError, match="step 3: the gradient is not finite"):
        apply_gradient(trainer, 3, bad)
    pairs = zip(trainer.parameters(), before, strict=True)
    assert all(torch.equal(now, then) for now, then in pairs)


def test_a_step_is_made_at_the_rate_of_its_schedule(open_tiny: Opener) -> None:
    def moved(step: int) -> float:
        trainer = open_tiny(
            {"training.steps": 8, "training.schedule": "linear", "training.weight_decay": 0.0}
        )
        before = [p.detach().clone() for p in trainer.parameters()]
        apply_gradient(trainer, step, [torch.ones_like(p) for p in trainer.parameters()])
        pairs = zip(trainer.parameters(), before, strict=True)
        return float(torch.stack([(now.detach() - then).norm() for now, then in pairs]).norm())

    assert moved(7) == pytest.approx(moved(1) / 4, rel=1e-4)
