"""K reward gradients of one batch, their combination, and the amortised pass that equals it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from marblecli.engine.shards import UNDIVIDED, Shards
from marblecli.maths.advantages import optimality_probability
from marblecli.maths.nft import (
    BranchLosses,
    LossRows,
    affine_weights,
    branch_cotangents,
    branch_losses,
    combined_loss,
    interpolate,
    reward_losses,
    velocity_penalty,
)
from marblecli.models.policies import Policies
from marblecli.seeding import stream
from marblecli.train.batch import LossSettings, Rows, TrainingBatch
from marblecli.train.contraction import BackwardPass, Contraction

WHOLE = ("whole",)
PARTS = ("signal-a", "signal-b", "pull")
"""The signal (the residual's part) of each half of the batch, and the pull (the gap's part)."""


@dataclass(frozen=True)
class RewardGradients:
    """The gradients of one optimizer batch, parameter by parameter."""

    blocks: list[Tensor]
    """For each parameter [P, K, ...]: parts of g_k, which sum to it."""
    penalty: list[Tensor]
    """For each parameter [...], the gradient of the regulariser, which stays outside the QP."""
    parts: tuple[str, ...] = WHOLE
    """P names."""
    slices: Mapping[str, list[Tensor]] = field(default_factory=dict)
    """For each parameter [K, ...]: the signal of some of the rows, by name."""
    shards: Shards = UNDIVIDED
    """Where the parameters are divided, this holds the gradients of this process's rows."""

    def whole(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k; made one by one, to hold no second copy of all."""
        return (block.sum(0) for block in self.blocks)

    def signal(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k without the pull."""
        return (block[:2].sum(0) for block in self.blocks)

    def tensors(self) -> Iterator[Tensor]:
        """All there is, to be summed over processes."""
        yield from self.blocks
        yield from self.penalty
        for parts in self.slices.values():
            yield from parts

    def combine(self, coefficients: Tensor) -> list[Tensor]:
        """sum_k coefficients_k g_k plus the regulariser's gradient; a coefficient of 0 drops g_k.

        A masked reward's gradient may hold NaN, which a product with 0 would keep.
        """
        kept = coefficients.nonzero().flatten()
        like = self.blocks[0]
        # Moved once: a copy to the device for every parameter would make it wait each time.
        weights, kept = coefficients[kept].to(like), kept.to(like.device)
        return [
            torch.tensordot(weights, block[:, kept].sum(0), dims=1) + penalty
            for block, penalty in zip(self.blocks, self.penalty, strict=True)
        ]


def reward_gradients(
    policies: Policies, batch: TrainingBatch, settings: LossSettings
) -> RewardGradients:
    """g_k = grad L_k for every reward, by one forward and K + 1 backward passes a micro-batch.

    The reference that :func:`contracted_gradients` is held against.
    """
    parameters = list(policies.trained_parameters().values())
    rewards = batch.optimality.shape[1]
    blocks = [parameter.new_zeros(1, rewards, *parameter.shape) for parameter in parameters]
    penalty = [torch.zeros_like(parameter) for parameter in parameters]
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = _losses(policies, batch, rows, settings)
        losses = reward_losses(branches, rows.optimality, rows.shares, batch.scale(settings))
        for index, loss in enumerate(losses):
            for block, gradient in zip(blocks, _gradients(loss, parameters), strict=True):
                block[0, index] += gradient
        if settings.kl_weight:
            for total, gradient in zip(penalty, _gradients(regulariser, parameters), strict=True):
                total.add_(gradient)
    return RewardGradients(blocks, penalty)


def contracted_gradients(
    policies: Policies,
    batch: TrainingBatch,
    settings: LossSettings,
    anchor_share: float = 1.0,
    *,
    parts: bool = True,
) -> RewardGradients:
    """The same K gradients, in :data:`PARTS`, by two backward passes a micro-batch for any K.

    The pull and the regulariser are computed on a random ``anchor_share`` of the micro-batches
    (at least one) and reweighted; the reference policy, and every backward pass but the first, run
    there only. With a share of 1 the gradients equal :func:`reward_gradients` to rounding.
    The signal of the batch's slices, if it has any, comes besides.

    Without ``parts`` there are whole gradients only, in a third of the memory, and no slices.
    """
    rewards = batch.optimality.shape[1]
    layout = _Layout(rewards, len(batch.slices) if parts else 0, parts)
    contraction = Contraction(
        policies.network("trained"),
        policies.layer_parameters(),
        columns=layout.penalty + 1,
        checkpoints=policies.checkpoints,
        shards=policies.shards,
    )
    anchors, weight = _anchors(batch, settings, anchor_share, policies.shards.divided)
    with contraction.tapped():
        for index, rows in enumerate(batch.rows(settings.micro_batch_size)):
            anchored = index in anchors
            micro = _forward(policies, rows, settings, regularised=anchored)
            passes = _passes(layout, micro, batch, settings, weight if anchored else 0.0)
            contraction.backward(micro.velocity, passes)
    blocks = [total[:-1].unflatten(0, (-1, rewards)) for total in contraction.totals]
    names = PARTS if parts else WHOLE
    return RewardGradients(
        blocks=[block[-len(names) :] for block in blocks],
        penalty=[total[-1] for total in contraction.totals],
        parts=names,
        slices={
            name: [block[index] for block in blocks]
            for index, name in enumerate(batch.slices if parts else ())
        },
        shards=policies.shards,
    )


@dataclass(frozen=True)
class _Layout:
    """Where the accumulators stand, the regulariser's last.

    Before it the signal of every slice, of both halves, and the pull; not in parts, all together.
    """

    rewards: int
    slices: int
    parts: bool

    @property
    def signal(self) -> slice:
        groups = self.slices + 2 if self.parts else 1
        return slice(0, groups * self.rewards)

    @property
    def pull(self) -> slice:
        start = self.signal.stop if self.parts else 0
        return slice(start, start + self.rewards)

    @property
    def penalty(self) -> int:
        return self.pull.stop

    def spread(self, signal: Tensor, rows: Rows) -> Tensor:
        """[B, K] -> [B, as many as the signal's accumulators]."""
        if not self.parts:
            return signal
        groups = torch.cat([rows.slices, ~rows.halves[:, None], rows.halves[:, None]], 1)
        return (groups[:, :, None] * signal[:, None]).flatten(1)


def _anchors(
    batch: TrainingBatch, settings: LossSettings, share: float, together: bool = False
) -> tuple[frozenset[int], float]:
    """Which micro-batches carry the anchor, and by what their part is multiplied."""
    count = batch.micro_steps(settings.micro_batch_size)
    if not count:
        return frozenset(), 0.0
    chosen = max(1, round(share * count))
    seed, *place = batch.noise_seed
    # Every process draws among its own micro-batches, which keeps the sum right on average; those
    # that go through a network together draw the same.
    drawn_by = (batch.start,) if batch.start and not together else ()
    picked = stream(seed, "anchors", *place, *drawn_by).choice(count, chosen, replace=False)
    return frozenset(picked.tolist()), count / chosen


def amortised_backward(
    policies: Policies, batch: TrainingBatch, settings: LossSettings, coefficients: Tensor
) -> None:
    """Add sum_k coefficients_k g_k plus the regulariser's gradient to ``.grad``, in one backward.

    Exact for this batch, to rounding, whatever batch the coefficients come from.
    """
    for rows in batch.rows(settings.micro_batch_size):
        branches, regulariser = _losses(policies, batch, rows, settings)
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


@dataclass(frozen=True)
class _MicroBatch:
    """What the three policies say of some rows; the trained one with its graph."""

    rows: Rows
    noised: Tensor
    velocity: Tensor
    old: Tensor
    reference: Tensor | None
    """None where the regulariser isn't wanted."""
    on_policy: bool
    """The old policy is the trained one: the gap is exactly zero."""


def _forward(
    policies: Policies, rows: Rows, settings: LossSettings, *, regularised: bool = True
) -> _MicroBatch:
    noised = interpolate(rows.latents, rows.noise, rows.noise_level)
    inputs = (noised, rows.noise_level, rows.conditioning)
    on_policy = policies.old_is_trained
    old = None if on_policy else policies.velocity("old", *inputs)
    wanted = regularised and settings.kl_weight > 0.0
    reference = policies.velocity("reference", *inputs) if wanted else None
    # The trained policy last: the others deactivate its adapter.
    velocity = policies.velocity("trained", *inputs)
    old = velocity.detach() if old is None else old
    return _MicroBatch(rows, noised, velocity, old, reference, on_policy)


def _losses(
    policies: Policies, batch: TrainingBatch, rows: Rows, settings: LossSettings
) -> tuple[BranchLosses, Tensor]:
    """The branch losses of the rows, and kappa times their share of the mean velocity penalty."""
    micro = _forward(policies, rows, settings)
    branches = branch_losses(
        micro.velocity,
        micro.old,
        micro.noised,
        rows.latents,
        LossRows(rows.noise_level, settings.mix),
    )
    if micro.reference is None:
        return branches, micro.velocity.new_zeros(())
    weight = settings.kl_weight / batch.whole_rows
    return branches, weight * velocity_penalty(micro.velocity, micro.reference)


def _passes(
    layout: _Layout,
    micro: _MicroBatch,
    batch: TrainingBatch,
    settings: LossSettings,
    anchor_weight: float,
) -> list[BackwardPass]:
    """The backward passes of one micro-batch; ``anchor_weight`` 0 leaves the anchor out."""
    rows, levels = micro.rows, LossRows(micro.rows.noise_level, settings.mix)
    parts = branch_cotangents(micro.velocity, micro.old, micro.noised, rows.latents, levels)
    targets = (rows.optimality, rows.shares, batch.scale(settings))
    signal = layout.spread(parts.signal(*targets), rows)
    passes = [BackwardPass(parts.residual, signal, layout.signal)]
    if anchor_weight > 0.0 and not micro.on_policy:
        pull = anchor_weight * parts.pull(*targets)
        passes.append(BackwardPass(parts.gap, pull, layout.pull))
    if anchor_weight > 0.0 and micro.reference is not None:
        gap = micro.velocity.detach() - micro.reference
        weight = 2 * anchor_weight * settings.kl_weight / batch.whole_rows
        each = gap.new_full((len(gap), 1), weight / gap[0].numel())
        passes.append(BackwardPass(gap, each, slice(layout.penalty, None)))
    return passes


def _gradients(loss: Tensor, parameters: list[torch.nn.Parameter]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(
        loss, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
    )
