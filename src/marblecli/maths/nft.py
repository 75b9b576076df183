"""DiffusionNFT: the two loss branches, the losses of K rewards, and their exact amortisation.

Source: DiffusionNFT (arXiv 2509.16117), sec. 3; the weighting by several rewards is MARBLE's
(arXiv 2605.06507), sec. 4. Shapes: B rows (one image at one noise level), N images, K rewards;
the trailing dimensions ``...`` of latents and velocities are [C, h, w].
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_SCALE = 1e-5
"""Lower bound of the self-normalising weights w+ and w-."""


@dataclass(frozen=True)
class BranchLosses:
    """The loss of each branch at each row, differentiable in the trained velocity."""

    positive: Tensor
    """[B], l+ of the branch that moves with the trained velocity."""
    negative: Tensor
    """[B], l- of its mirror image."""


@dataclass(frozen=True)
class LossRows:
    """What the losses of a batch of rows depend on besides the network."""

    levels: Tensor
    """[B], t in (0, 1)."""
    mix: float
    """beta of DiffusionNFT, in (0, 1]."""


def interpolate(latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """x_t = (1 - t) x0 + t eps, rectified flow. [B, ...] and t [B] -> [B, ...]."""
    return torch.lerp(latents, noise, _per_row(levels, latents))


def branch_losses(
    velocity: Tensor, old_velocity: Tensor, noised: Tensor, latents: Tensor, rows: LossRows
) -> BranchLosses:
    """l+ and l- of every row (DiffusionNFT, eq. 8 with the self-normalised x0 regression).

    v+ = mix v + (1 - mix) v_old and v- = (1 + mix) v_old - mix v; each is compared, through its
    clean estimate x_t - t v, with the sampled x0. Velocities, ``noised`` x_t and ``latents`` x0
    are [B, ...]; gradients flow into ``velocity`` alone.
    """
    old = old_velocity.detach()
    step = rows.mix * (velocity - old)
    return BranchLosses(
        positive=_clean_error(old + step, noised, latents, rows.levels),
        negative=_clean_error(old - step, noised, latents, rows.levels),
    )


def _clean_error(velocity: Tensor, noised: Tensor, latents: Tensor, levels: Tensor) -> Tensor:
    """Mean over elements of (x0_hat - x0)^2 / w, w = stop-gradient(mean |x0_hat - x0|)."""
    error = noised - _per_row(levels, noised) * velocity - latents
    return error.square().flatten(1).mean(1) / _mean_size(error.detach())


def _mean_size(error: Tensor) -> Tensor:
    return error.abs().flatten(1).mean(1).clamp_min(_LEAST_SCALE)


def _per_row(values: Tensor, like: Tensor) -> Tensor:
    return values.view(-1, *(1,) * (like.ndim - 1))


def reward_shares(valid: Tensor, counts: Tensor) -> Tensor:
    """m_ik / n_k: [N, K] mask and [K] counts over the whole optimizer batch -> [N, K].

    A reward that applies to no image has a share of zero everywhere.
    """
    return valid / counts.clamp_min(1)


def reward_losses(
    branches: BranchLosses, optimality: Tensor, shares: Tensor, scale: float
) -> Tensor:
    """L_k = scale * sum_i share_ik [r_ik l+_i + (1 - r_ik) l-_i]: [K].

    ``optimality`` is r [B, K] in [0, 1], ``shares`` is m_ik / n_k [B, K], ``scale`` is c / beta,
    divided by the number of noise levels each image is trained at.
    """
    terms = optimality * branches.positive[:, None] + (1 - optimality) * branches.negative[:, None]
    return scale * (shares * terms).sum(0)


def affine_weights(
    optimality: Tensor, shares: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """P and Q, [B] each, that collapse sum_k lambda_k L_k into one loss (MARBLE, sec. 4.3).

    P_i = sum_k lambda_k share_ik r_ik and Q_i = sum_k lambda_k share_ik (1 - r_ik), exact because
    the loss is affine in r. ``coefficients`` is lambda [K].
    """
    weighted = shares * coefficients
    return (weighted * optimality).sum(1), (weighted * (1 - optimality)).sum(1)


def combined_loss(
    branches: BranchLosses, positive: Tensor, negative: Tensor, scale: float
) -> Tensor:
    """Scale * sum_i [P_i l+_i + Q_i l-_i]: a scalar whose gradient is sum_k lambda_k g_k."""
    return scale * (positive * branches.positive + negative * branches.negative).sum()


@dataclass(frozen=True)
class BranchCotangents:
    """What the branch losses send into the network: two vectors a row, whatever K is."""

    residual: Tensor
    """[B, ...], e = x_t - t v_old - x0; known before the trained network is run."""
    pull: Tensor
    """[B, ...], v - v_old: away from the old policy; its weights are much the same for every
    reward."""
    positive: Tensor
    """[B], 2 t mix / (D w+), D elements a row."""
    negative: Tensor
    """[B], 2 t mix / (D w-)."""
    reach: Tensor
    """[B], t mix."""

    def signal_weights(self, optimality: Tensor, shares: Tensor, scale: float) -> Tensor:
        """[B, K], S_ik of dL_k/dv_i = S_ik residual_i + T_ik pull_i.

        The arguments are those of :func:`reward_losses`.
        """
        weights = (1 - optimality) * self.negative[:, None] - optimality * self.positive[:, None]
        return scale * shares * weights

    def pull_weights(self, optimality: Tensor, shares: Tensor, scale: float) -> Tensor:
        """[B, K], T_ik of the same."""
        weights = optimality * self.positive[:, None] + (1 - optimality) * self.negative[:, None]
        return scale * shares * self.reach[:, None] * weights


def branch_cotangents(
    velocity: Tensor, old_velocity: Tensor, noised: Tensor, latents: Tensor, rows: LossRows
) -> BranchCotangents:
    """The derivatives of :func:`branch_losses` by the velocity, in closed form; same shapes.

    With e the residual and p the pull, the branches' errors are e -+ t mix p, so
    dl+/dv = 2 t mix (t mix p - e) / (D w+) and dl-/dv = 2 t mix (t mix p + e) / (D w-).
    """
    residual = noised - _per_row(rows.levels, noised) * old_velocity - latents
    pull = (velocity - old_velocity).detach()
    reach = rows.levels * rows.mix
    move = _per_row(reach, pull) * pull
    factor = 2 * reach / residual[0].numel()
    return BranchCotangents(
        residual=residual,
        pull=pull,
        positive=factor / _mean_size(residual - move),
        negative=factor / _mean_size(residual + move),
        reach=reach,
    )


def velocity_penalty(velocity: Tensor, reference_velocity: Tensor) -> Tensor:
    """Sum over rows of the mean over elements of (v - v_ref)^2: a scalar, to be divided by B."""
    return (velocity - reference_velocity.detach()).square().flatten(1).mean(1).sum()


def old_policy_decay(step: int, slope: float, cap: float, wait: int = 0) -> float:
    """Eta of theta_old <- eta theta_old + (1 - eta) theta after optimizer step ``step`` (from 1).

    Published MARBLE: slope 0.001, cap 0.95; DiffusionNFT caps at 0.5, and has a second schedule
    with wait 75, slope 0.0075, cap 0.999.
    """
    return min(slope * max(step - wait, 0), cap)
