"""K reward gradients, their combination, and the amortised backward pass that equals it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from marblecli.maths.nft import (
    BranchLosses,
    LossRows,
    affine_weights,
    branch_losses,
    combined_loss,
    interpolate,
    reward_losses,
    velocity_penalty,
)
from marblecli.train.backbone import Conditioning
from marblecli.train.policy import Policies
from marblecli.train.seeding import torch_stream


@dataclass(frozen=True)
class LossSettings:
    """The constants of the loss."""

    mix: float
    """beta of DiffusionNFT."""
    advantage_clip: float
    """c: the losses are scaled by c / beta."""
    kl_weight: float
    """kappa."""
    micro_batch_size: int


@dataclass(frozen=True)
class TrainingBatch:
    """One optimizer batch: N images, each at T noise levels."""

    latents: Tensor
    """[N, C, h, w], x0."""
    conditioning: Conditioning
    """Of the N images."""
    noise_levels: Tensor
    """[N, T], t in (0, 1), no two of an image alike."""
    optimality: Tensor
    """[N, K], r_ik."""
    shares: Tensor
    """[N, K], m_ik / n_k."""
    noise_seed: tuple[int, int]
    """(seed of the run, step): the noise of a row depends on these, its level's index and image."""

    def rows(self, size: int) -> Iterator[Rows]:
        """Micro-batches of at most ``size`` images at one noise level each."""
        for index in range(self.noise_levels.shape[1]):
            noise = self._noise(index)
            for images in torch.arange(len(self.latents)).split(size):
                yield Rows(
                    latents=self.latents[images],
                    noise=noise[images].to(self.latents.device),
                    noise_level=self.noise_levels[images, index],
                    conditioning=self.conditioning[images],
                    optimality=self.optimality[images],
                    shares=self.shares[images],
                )

    def _noise(self, index: int) -> Tensor:
        generator = torch_stream(self.noise_seed[0], "noise", self.noise_seed[1], index)
        return torch.randn(self.latents.shape, generator=generator).to(self.latents.dtype)


@dataclass(frozen=True)
class Rows:
    """B images at one noise level each; shapes as in ``TrainingBatch``, with B for N."""

    latents: Tensor
    noise: Tensor
    noise_level: Tensor
    conditioning: Conditioning
    optimality: Tensor
    shares: Tensor


@dataclass(frozen=True)
class RewardGradients:
    """The gradients of one optimizer batch, parameter by parameter."""

    blocks: list[Tensor]
    """For each parameter [K, ...], g_k."""
    penalty: list[Tensor]
    """For each parameter [...], the gradient of the regulariser, which stays outside the QP."""

    def combine(self, coefficients: Tensor) -> list[Tensor]:
        """sum_k coefficients_k g_k plus the regulariser's gradient; a coefficient of 0 drops g_k.

        A masked reward's gradient may hold NaN, which a product with 0 would keep.
        """
        kept = coefficients.nonzero().flatten()
        return [
            torch.tensordot(coefficients[kept].to(block), block[kept], dims=1) + penalty
            for block, penalty in zip(self.blocks, self.penalty, strict=True)
        ]


def reward_gradients(
    policies: Policies, batch: TrainingBatch, settings: LossSettings
) -> RewardGradients:
    """g_k = grad L_k for every reward: one forward and K + 1 backward passes a micro-batch."""
    parameters = list(policies.trained_parameters().values())
    rewards = batch.optimality.shape[1]
    blocks = [parameter.new_zeros(rewards, *parameter.shape) for parameter in parameters]
    penalty = [torch.zeros_like(parameter) for parameter in parameters]
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = _forward(policies, batch, rows, settings)
        losses = reward_losses(branches, rows.optimality, rows.shares, _scale(batch, settings))
        for index, loss in enumerate(losses):
            for block, gradient in zip(blocks, _gradients(loss, parameters), strict=True):
                block[index] += gradient
        if settings.kl_weight:
            for total, gradient in zip(penalty, _gradients(regulariser, parameters), strict=True):
                total.add_(gradient)
    return RewardGradients(blocks, penalty)


def amortised_backward(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, coefficients: Tensor
) -> None:
    """Add sum_k coefficients_k g_k plus the regulariser's gradient to ``.grad``, in one backward.

    Exact for this batch, to rounding, whatever batch the coefficients come from.
    """
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = _forward(policies, batch, rows, settings)
        positive, negative = affine_weights(
            rows.optimality, rows.shares, coefficients.to(rows.shares)
        )
        loss = combined_loss(branches, positive, negative, _scale(batch, settings))
        (loss + regulariser).backward()


def _scale(batch: TrainingBatch, settings: LossSettings) -> float:
    return settings.advantage_clip / settings.mix / batch.noise_levels.shape[1]


def _gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )


def _forward(
    policies: Policies, batch: TrainingBatch, rows: Rows, settings: LossSettings
) -> tuple[BranchLosses, Tensor]:
    """The branch losses of the rows, and kappa times their share of the mean velocity penalty."""
    noised = interpolate(rows.latents, rows.noise, rows.noise_level)
    inputs = (noised, rows.noise_level, rows.conditioning)
    old = policies.velocity("old", *inputs)
    reference = policies.velocity("reference", *inputs) if settings.kl_weight else None
    velocity = policies.velocity("trained", *inputs)
    branches = branch_losses(
        velocity, old, noised, rows.latents, LossRows(rows.noise_level, settings.mix)
    )
    if reference is None:
        return branches, velocity.new_zeros(())
    weight = settings.kl_weight / batch.noise_levels.numel()
    return branches, weight * velocity_penalty(velocity, reference)
