"""The loss against the formulas written out naively, and against its own amortised forms."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from marblecli.maths.nft import (
    BranchLosses,
    LossRows,
    affine_weights,
    branch_losses,
    combined_loss,
    interpolate,
    old_policy_decay,
    reward_losses,
    reward_shares,
    velocity_penalty,
)

MIX, CLIP = 0.1, 5.0
SHAPE = (3, 4, 4)


def random_case(rows: int = 6, rewards: int = 4, seed: int = 0) -> dict[str, Tensor]:
    g = torch.Generator().manual_seed(seed)

    def normal() -> Tensor:
        return torch.randn(rows, *SHAPE, generator=g, dtype=torch.float64)

    latents, noise = normal(), normal()
    level = 0.05 + 0.9 * torch.rand(rows, generator=g, dtype=torch.float64)
    valid = (torch.rand(rows, rewards, generator=g) < 0.7).double()
    valid[0] = 1.0
    return {
        "latents": latents,
        "noised": interpolate(latents, noise, level),
        "level": level,
        "velocity": (noise - latents + 0.3 * normal()).requires_grad_(),
        "old": noise - latents + 0.2 * normal(),
        "optimality": torch.rand(rows, rewards, generator=g, dtype=torch.float64),
        "valid": valid,
    }


def branches_of(case: dict[str, Tensor]) -> BranchLosses:
    return branch_losses(
        case["velocity"],
        case["old"],
        case["noised"],
        case["latents"],
        LossRows(case["level"], MIX),
    )


def naive_loss(case: dict[str, Tensor], reward: int) -> Tensor:
    """L_k, written out sample by sample and element by element."""
    count = float(case["valid"][:, reward].sum())
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(case["latents"])):
        v, old, x0, xt = (case[key][i] for key in ("velocity", "old", "latents", "noised"))
        t, r = case["level"][i], case["optimality"][i, reward]
        plus = xt - t * (MIX * v + (1 - MIX) * old) - x0
        minus = xt - t * ((1 + MIX) * old - MIX * v) - x0
        w_plus = max(float(plus.detach().abs().sum() / plus.numel()), 1e-5)
        w_minus = max(float(minus.detach().abs().sum() / minus.numel()), 1e-5)
        l_plus = (plus**2).sum() / plus.numel() / w_plus
        l_minus = (minus**2).sum() / minus.numel() / w_minus
        total = total + case["valid"][i, reward] / count * (r * l_plus + (1 - r) * l_minus)
    return CLIP / MIX * total


@pytest.mark.parametrize("reward", range(4))
def test_loss_and_gradient_are_the_formulas(reward: int) -> None:
    case = random_case()
    shares = reward_shares(case["valid"], case["valid"].sum(0))
    ours = reward_losses(branches_of(case), case["optimality"], shares, CLIP / MIX)[reward]
    naive = naive_loss(case, reward)
    torch.testing.assert_close(ours, naive, rtol=1e-6, atol=0)
    (ours_gradient,) = torch.autograd.grad(ours, case["velocity"])
    (naive_gradient,) = torch.autograd.grad(naive, case["velocity"])
    torch.testing.assert_close(ours_gradient, naive_gradient, rtol=1e-6, atol=1e-15)


def test_gradient_is_the_cotangent_of_residual_and_pull() -> None:
    """u_ik = (m/n)(2ct/D)[s e + t beta p Delta], a formula derived without autograd."""
    case = random_case(seed=1)
    shares = reward_shares(case["valid"], case["valid"].sum(0))
    losses = reward_losses(branches_of(case), case["optimality"], shares, CLIP / MIX)
    t = case["level"].view(-1, 1, 1, 1)
    velocity = case["velocity"].detach()
    residual = case["noised"] - t * case["old"] - case["latents"]
    pull = velocity - case["old"]
    w_plus = (residual - t * MIX * pull).abs().flatten(1).mean(1)
    w_minus = (residual + t * MIX * pull).abs().flatten(1).mean(1)
    for k, loss in enumerate(losses):
        r = case["optimality"][:, k]
        s = ((1 - r) / w_minus - r / w_plus).view(-1, 1, 1, 1)
        p = (r / w_plus + (1 - r) / w_minus).view(-1, 1, 1, 1)
        scale = (2 * CLIP * case["level"] * shares[:, k] / velocity[0].numel()).view(-1, 1, 1, 1)
        expected = scale * (s * residual + t * MIX * p * pull)
        (gradient,) = torch.autograd.grad(loss, case["velocity"], retain_graph=True)
        torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-15)


def test_hand_worked_case() -> None:
    """One element: x0 = 0, eps = 1, t = 1/2, v_old = 1.2, v = 2.2, r = 3/4."""
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    level = torch.tensor([0.5], dtype=torch.float64)
    velocity = (2.2 * one).requires_grad_()
    noised = interpolate(0 * one, one, level)
    branches = branch_losses(velocity, 1.2 * one, noised, 0 * one, LossRows(level, MIX))
    assert branches.positive.item() == pytest.approx(0.15)
    assert branches.negative.item() == pytest.approx(0.05)
    r = torch.tensor([[0.75]], dtype=torch.float64)
    loss = reward_losses(branches, r, torch.ones_like(r), CLIP / MIX)[0]
    assert loss.item() == pytest.approx(6.25)
    loss.backward()
    assert velocity.grad is not None
    assert velocity.grad.item() == pytest.approx(2.5)


@pytest.mark.parametrize("seed", range(5))
def test_combined_loss_is_the_weighted_sum(seed: int) -> None:
    case = random_case(seed=seed)
    shares = reward_shares(case["valid"], case["valid"].sum(0))
    coefficients = 10 ** torch.linspace(-1, 0.5, 4, dtype=torch.float64)
    losses = reward_losses(branches_of(case), case["optimality"], shares, 50.0)
    positive, negative = affine_weights(case["optimality"], shares, coefficients)
    combined = combined_loss(branches_of(case), positive, negative, 50.0)
    torch.testing.assert_close(combined, losses @ coefficients, rtol=1e-12, atol=0)


def test_masked_entries_change_nothing() -> None:
    case = random_case(seed=3)
    shares = reward_shares(case["valid"], case["valid"].sum(0))
    other = torch.where(case["valid"] > 0, case["optimality"], 0.123)
    assert not torch.equal(other, case["optimality"])
    for r in (case["optimality"], other):
        torch.testing.assert_close(
            reward_losses(branches_of(case), r, shares, 1.0),
            reward_losses(branches_of(case), case["optimality"], shares, 1.0),
        )


def test_a_reward_without_images_has_no_share() -> None:
    valid = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    assert reward_shares(valid, valid.sum(0)).tolist() == [[0.5, 0.0], [0.5, 0.0]]


def test_no_gradient_reaches_old_or_reference() -> None:
    case = random_case()
    old = case["old"].requires_grad_()
    terms = branches_of(case)
    penalty = velocity_penalty(case["velocity"], old)
    (terms.positive.sum() + penalty).backward()
    assert old.grad is None


def test_penalty_is_summed_over_rows_and_averaged_over_elements() -> None:
    velocity, reference = torch.zeros(2, 1, 2, 2), torch.full((2, 1, 2, 2), 3.0)
    assert velocity_penalty(velocity, reference).item() == 18.0


@pytest.mark.parametrize(
    ("step", "schedule", "expected"),
    [
        (1, (0.001, 0.95, 0), 0.001),
        (400, (0.001, 0.95, 0), 0.4),
        (5000, (0.001, 0.95, 0), 0.95),
        (5000, (0.001, 0.5, 0), 0.5),
        (75, (0.0075, 0.999, 75), 0.0),
        (95, (0.0075, 0.999, 75), 0.15),
    ],
)
def test_old_policy_schedules(
    step: int, schedule: tuple[float, float, int], expected: float
) -> None:
    assert old_policy_decay(step, *schedule) == pytest.approx(expected)
