"""Plain backward passes: one for each reward, or a single one for given coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from marblecli.maths.nft import affine_weights, combined_loss, reward_losses
from marblecli.methods.method import LossInputs, LossTargets
from marblecli.models.policies import Policies
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.micro_step import losses
from marblecli.train.gradients.reward_gradients import RewardGradients


def reward_gradients(
    policies: Policies, batch: TrainingBatch, settings: LossSettings
) -> RewardGradients:
    """g_k = grad L_k for every reward, by K + 1 backward passes for each micro-batch.

    It is slower than :func:`~marblecli.train.gradients.contracted_gradients`, whose results are
    tested against these.
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
    """Add sum_k coefficients_k g_k and the regulariser's gradient to the parameters' ``.grad``.

    One backward pass for each micro-batch is enough, because the sum of the losses is computed
    first. It is exact for this batch, to rounding, whatever batch the ``coefficients`` [K] come
    from (MARBLE, arXiv 2605.06507, section 4.3).
    """
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = losses(policies, batch, rows, settings)
        positive, negative = affine_weights(
            rows.optimality, rows.shares, coefficients.to(rows.shares)
        )
        loss = combined_loss(branches, positive, negative, batch.scale(settings))
        (loss + regulariser).backward()
    policies.settle_gradients()


def own_loss_backward(
    policies: Policies,
    batch: TrainingBatch,
    settings: LossSettings,
    coefficients: Tensor,
    targets: Callable[[LossInputs], LossTargets],
) -> None:
    """Like :func:`amortised_backward`, with a method's own loss in place of the K losses.

    ``targets`` computes one loss's targets from ``coefficients`` [K] and the batch's advantages.
    """
    inputs = LossInputs(
        advantages=batch.advantages.double().cpu().numpy(),
        shares=batch.shares.double().cpu().numpy(),
        coefficients=coefficients.double().numpy(),
        clip=settings.advantage_clip,
        images=batch.whole,
    )
    found = targets(inputs)
    one = replace(
        batch,
        optimality=torch.from_numpy(found.optimality[:, None]).to(batch.optimality),
        shares=torch.from_numpy(found.shares[:, None]).to(batch.shares),
        selection=None if batch.selection is None else batch.selection.of_one_loss(),
    )
    amortised_backward(policies, one, settings, batch.shares.new_ones(1))


def _gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
