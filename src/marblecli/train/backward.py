"""Plain backward passes: one a reward, to check the contraction by; and one for a fixed mixture."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from marblecli.maths.advantages import optimality_probability
from marblecli.maths.nft import affine_weights, combined_loss, reward_losses
from marblecli.models.policies import Policies
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients import RewardGradients
from marblecli.train.micro_step import losses


def reward_gradients(
    policies: Policies, batch: TrainingBatch, settings: LossSettings
) -> RewardGradients:
    """g_k = grad L_k for every reward, by one forward and K + 1 backward passes a micro-batch.

    Slower than :func:`~marblecli.train.gradients.contracted_gradients`, which is tested against it.
    """
    parameters = list(policies.trained_parameters().values())
    rewards = batch.optimality.shape[1]
    blocks = [parameter.new_zeros(1, rewards, *parameter.shape) for parameter in parameters]
    penalty = [torch.zeros_like(parameter) for parameter in parameters]
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = losses(policies, batch, rows, settings)
        found = reward_losses(branches, rows.optimality, rows.shares, batch.scale(settings))
        for index, loss in enumerate(found):
            for block, gradient in zip(blocks, _gradients(loss, parameters), strict=True):
                block[0, index] += gradient
        if settings.kl_weight:
            for total, gradient in zip(penalty, _gradients(regulariser, parameters), strict=True):
                total.add_(gradient)
    return RewardGradients(blocks, penalty)


def amortised_backward(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, coefficients: Tensor
) -> None:
    """Add sum_k coefficients_k g_k plus the regulariser's gradient to ``.grad``, in one backward.

    Exact for this batch, to rounding, whatever batch the coefficients come from (MARBLE,
    arXiv 2605.06507, section 4.3).
    """
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = losses(policies, batch, rows, settings)
        positive, negative = affine_weights(
            rows.optimality, rows.shares, coefficients.to(rows.shares)
        )
        loss = combined_loss(branches, positive, negative, batch.scale(settings))
        (loss + regulariser).backward()
    policies.settle_gradients()


def published_backward(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, weights: Tensor
) -> None:
    """Like :func:`amortised_backward`, as the published MARBLE code does it, to be compared with.

    One loss over all images: the advantages are summed with the raw ``weights`` [K], 0 standing
    for a reward that doesn't apply, and the sum is clipped.
    """
    combined = (batch.advantages * weights.to(batch.advantages)).sum(1, keepdim=True)
    optimality = optimality_probability(combined.double().cpu().numpy(), settings.advantage_clip)
    one = replace(
        batch,
        optimality=torch.from_numpy(optimality).to(combined),
        shares=torch.full_like(combined, 1 / batch.whole),
    )
    amortised_backward(policies, one, settings, combined.new_ones(1))


def _gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
