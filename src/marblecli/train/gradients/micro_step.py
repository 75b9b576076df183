"""One micro-batch: forward passes of the three policies, and backward passes of the trained one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from marblecli.maths.nft import (
    BranchLosses,
    LossRows,
    branch_cotangents,
    branch_losses,
    interpolate,
    velocity_penalty,
)
from marblecli.models.policies import Policies
from marblecli.train.batch import LossSettings, Rows, TrainingBatch
from marblecli.train.gradients.contraction import BackwardPass


@dataclass(frozen=True)
class MicroStep:
    """The three policies' velocities of B rows; only the trained policy's has a graph."""

    rows: Rows
    noised: Tensor
    """[B, C, h, w], x_t."""
    velocity: Tensor
    """[B, C, h, w], of the trained policy."""
    old: Tensor
    """[B, C, h, w], of the old policy."""
    reference: Tensor | None
    """[B, C, h, w], of the reference policy; None where the regulariser isn't computed."""
    on_policy: bool
    """Whether the old policy is the trained one, so that the pull is exactly zero."""


def forward(
    policies: Policies, rows: Rows, settings: LossSettings, *, regularised: bool = True
) -> MicroStep:
    """Run the policies on the rows.

    The reference policy runs only if ``regularised``, and if the regulariser's weight isn't 0.
    """
    noised = interpolate(rows.latents, rows.noise, rows.levels)
    inputs = (noised, rows.levels, rows.conditioning)
    on_policy = policies.old_is_trained
    old = None if on_policy else policies.velocity("old", *inputs)
    wanted = regularised and settings.kl_weight > 0.0
    reference = policies.velocity("reference", *inputs) if wanted else None
    # The trained policy runs last, because running the others deactivates its adapter.
    velocity = policies.velocity("trained", *inputs)
    old = velocity.detach() if old is None else old
    return MicroStep(rows, noised, velocity, old, reference, on_policy)


def losses(
    policies: Policies, batch: TrainingBatch, rows: Rows, settings: LossSettings
) -> tuple[BranchLosses, Tensor]:
    """The branch losses of the rows, and their part of the regulariser, times ``kl_weight``."""
    micro = forward(policies, rows, settings)
    branches = branch_losses(
        micro.velocity,
        micro.old,
        micro.noised,
        rows.latents,
        LossRows(rows.levels, settings.mix),
    )
    if micro.reference is None:
        return branches, micro.velocity.new_zeros(())
    weight = settings.kl_weight / batch.whole_rows
    return branches, weight * velocity_penalty(micro.velocity, micro.reference, rows.weights)


@dataclass(frozen=True)
class Layout:
    """What each accumulator is for.

    They are in this order: the signals of every slice, the signals of both halves of the batch, and
    the pull, with one accumulator for each reward; then the regulariser. Without ``parts``, signal
    and pull share the same accumulators, one for each reward.
    """

    rewards: int
    slices: int
    parts: bool

    @property
    def signal(self) -> slice:
        """The accumulators of the signal, by group of rows (slice or half) and reward."""
        groups = self.slices + 2 if self.parts else 1
        return slice(0, groups * self.rewards)

    @property
    def pull(self) -> slice:
        """The accumulators of the pull, one for each reward."""
        start = self.signal.stop if self.parts else 0
        return slice(start, start + self.rewards)

    @property
    def penalty(self) -> int:
        """The accumulator of the regulariser."""
        return self.pull.stop

    def spread(self, signal: Tensor, rows: Rows) -> Tensor:
        """Weights of the signal by reward -> by accumulator: [B, K] -> [B, groups * K].

        A row has weights of 0 in the groups that it isn't in.
        """
        if not self.parts:
            return signal
        groups = torch.cat([rows.slices, ~rows.halves[:, None], rows.halves[:, None]], 1)
        return (groups[:, :, None] * signal[:, None]).flatten(1)


def backward_passes(
    layout: Layout,
    micro: MicroStep,
    batch: TrainingBatch,
    settings: LossSettings,
    pull_weight: float,
) -> list[BackwardPass]:
    """The backward passes of one micro-batch: at most three, whatever the number of rewards.

    ``pull_weight`` multiplies the pull and the regulariser; if it is 0, they are left out.
    """
    rows, loss_rows = micro.rows, LossRows(micro.rows.levels, settings.mix)
    parts = branch_cotangents(micro.velocity, micro.old, micro.noised, rows.latents, loss_rows)
    targets = (rows.optimality, rows.shares, batch.scale(settings))
    signal = layout.spread(parts.signal_weights(*targets), rows)
    passes = [BackwardPass(parts.residual, signal, layout.signal)]
    if pull_weight > 0.0 and not micro.on_policy:
        pull = pull_weight * parts.pull_weights(*targets)
        passes.append(BackwardPass(parts.pull, pull, layout.pull))
    if pull_weight > 0.0 and micro.reference is not None:
        difference = micro.velocity.detach() - micro.reference
        weight = 2 * pull_weight * settings.kl_weight / batch.whole_rows
        each = difference.new_full((len(difference), 1), weight / difference[0].numel())
        each = each if rows.weights is None else each * rows.weights[:, None]
        passes.append(BackwardPass(difference, each, slice(layout.penalty, None)))
    return passes
