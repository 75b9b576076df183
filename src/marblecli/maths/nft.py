"""DiffusionNFT: the two loss branches, the losses of K rewards, and one loss that equals their sum.

Source: DiffusionNFT (arXiv 2509.16117), section 3; the weighting by several rewards is from MARBLE
(arXiv 2605.06507), section 4. Shapes: B rows (an image at one noise level each), N images, K
rewards; ``...`` stands for [C, h, w], the dimensions of one latent or velocity.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_LEAST_SCALE = 1e-5
"""The smallest value of the self-normalising weights w+ and w-."""


@dataclass(frozen=True)
class BranchLosses:
    """The losses of the two branches, differentiable by the trained velocity."""

    positive: Tensor
    """[B], l+, of the branch that moves with the trained velocity."""
    negative: Tensor
    """[B], l-, of the branch that moves the opposite way."""


@dataclass(frozen=True)
class LossRows:
    """What the losses of rows depend on, besides images and velocities."""

    levels: Tensor
    """[B], the noise levels t in (0, 1)."""
    mix: float
    """The beta of DiffusionNFT, in (0, 1]."""


def interpolate(latents: Tensor, noise: Tensor, levels: Tensor) -> Tensor:
    """The noised latents x_t = (1 - t) x0 + t eps of rectified flow: [B, ...].

    ``latents`` x0 and ``noise`` eps are [B, ...], ``levels`` t is [B].
    """
    return torch.lerp(latents, noise, _per_row(levels, latents))


def branch_losses(
    velocity: Tensor, old_velocity: Tensor, noised: Tensor, latents: Tensor, rows: LossRows
) -> BranchLosses:
    """l+ and l- of every row (DiffusionNFT, eq. 8, with the self-normalised x0 regression).

    The branches' velocities are v+ = mix v + (1 - mix) v_old and v- = (1 + mix) v_old - mix v. The
    estimate x_t - t v of the clean latents is compared with x0 in each branch. Velocities,
    ``noised`` x_t and ``latents`` x0 are [B, ...]; only ``velocity`` gets gradients.
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
    """[N, K], m_ik / n_k: ``valid`` [N, K] over ``counts`` [K] of the whole optimizer batch.

    A reward that is valid on no image has shares of zero.
    """
    return valid / counts.clamp_min(1)


def reward_losses(
    branches: BranchLosses, optimality: Tensor, shares: Tensor, scale: float
) -> Tensor:
    """[K], L_k = scale * sum_i share_ik [r_ik l+_i + (1 - r_ik) l-_i].

    ``optimality`` is r [B, K] in [0, 1], and ``shares`` is m_ik / n_k [B, K]. ``scale`` is
    c / (mix T), where T is the number of noise levels that each image is trained at.
    """
    terms = optimality * branches.positive[:, None] + (1 - optimality) * branches.negative[:, None]
    return scale * (shares * terms).sum(0)


def affine_weights(
    optimality: Tensor, shares: Tensor, coefficients: Tensor
) -> tuple[Tensor, Tensor]:
    """The weights P and Q, [B] each, with which one loss is sum_k lambda_k L_k (MARBLE, sec. 4.3).

    P_i = sum_k lambda_k share_ik r_ik and Q_i = sum_k lambda_k share_ik (1 - r_ik). This is exact,
    because the loss is affine in r. ``coefficients`` is lambda [K].
    """
    weighted = shares * coefficients
    return (weighted * optimality).sum(1), (weighted * (1 - optimality)).sum(1)


def combined_loss(
    branches: BranchLosses, positive: Tensor, negative: Tensor, scale: float
) -> Tensor:
    """Scale * sum_i [P_i l+_i + Q_i l-_i], a scalar whose gradient is sum_k lambda_k g_k.

    ``positive`` is P [B], and ``negative`` is Q [B], of :func:`affine_weights`.
    """
    return scale * (positive * branches.positive + negative * branches.negative).sum()


@dataclass(frozen=True)
class BranchCotangents:
    """The branch losses' gradients by the velocity, as two vectors for each row, whatever K is."""

    residual: Tensor
    """[B, ...], e = x_t - t v_old - x0; it doesn't depend on the trained network."""
    pull: Tensor
    """[B, ...], v - v_old; its weights are nearly the same for all rewards."""
    positive: Tensor
    """[B], 2 t mix / (D w+), where D is the number of elements in a row."""
    negative: Tensor
    """[B], 2 t mix / (D w-)."""
    reach: Tensor
    """[B], t mix."""

    def signal_weights(self, optimality: Tensor, shares: Tensor, scale: float) -> Tensor:
        """[B, K], S_ik of dL_k/dv_i = S_ik residual_i + T_ik pull_i.

        The arguments are those of :func:`reward_losses`; T_ik are :meth:`pull_weights`.
        """
        weights = (1 - optimality) * self.negative[:, None] - optimality * self.positive[:, None]
        return scale * shares * weights

    def pull_weights(self, optimality: Tensor, shares: Tensor, scale: float) -> Tensor:
        """[B, K], T_ik of dL_k/dv_i = S_ik residual_i + T_ik pull_i."""
        weights = optimality * self.positive[:, None] + (1 - optimality) * self.negative[:, None]
        return scale * shares * self.reach[:, None] * weights


def branch_cotangents(
    velocity: Tensor, old_velocity: Tensor, noised: Tensor, latents: Tensor, rows: LossRows
) -> BranchCotangents:
    """The derivatives of :func:`branch_losses` by the velocity, with the same arguments.

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


def velocity_penalty(
    velocity: Tensor, reference_velocity: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The sum over rows of the mean over elements of (v - v_ref)^2: a scalar.

    ``weights`` [B] multiply the rows.
    """
    rows = (velocity - reference_velocity.detach()).square().flatten(1).mean(1)
    return (rows if weights is None else rows * weights).sum()


def old_policy_decay(step: int, slope: float, cap: float, wait: int = 0) -> float:
    """The decay eta in theta_old <- eta theta_old + (1 - eta) theta, after ``step`` (from 1).

    MARBLE was published with slope 0.001 and cap 0.95. DiffusionNFT has cap 0.5, and a second
    schedule with wait 75, slope 0.0075 and cap 0.999.
    """
    return min(slope * max(step - wait, 0), cap)
