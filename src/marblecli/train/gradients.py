"""The K reward gradients of one batch, by two backward passes a micro-batch for any K."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marblecli.models.policies import Policies
from marblecli.seeding import stream
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.contraction import Contraction
from marblecli.train.micro_step import Layout, backward_passes, forward

WHOLE = ("whole",)
PARTS = ("signal-a", "signal-b", "pull")
"""The signal (what carries the rewards) of each half of the batch, and the pull towards the old
policy."""


@dataclass(frozen=True)
class RewardGradients:
    """The gradients of one optimizer batch, parameter by parameter.

    Where the parameters are sharded, these are the gradients of this process's rows of them.
    """

    blocks: list[Tensor]
    """For each parameter [P, K, ...]: parts of g_k, which sum to it."""
    penalty: list[Tensor]
    """For each parameter [...], the gradient of the regulariser, which stays outside the QP."""
    parts: tuple[str, ...] = WHOLE
    """P names."""
    slices: Mapping[str, list[Tensor]] = field(default_factory=dict)
    """For each parameter [K, ...]: the signal of some of the rows, by name."""

    def whole(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k; made one by one, to hold no second copy of all."""
        return (block.sum(0) for block in self.blocks)

    def signal(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k without the pull."""
        return (block[:2].sum(0) for block in self.blocks)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, to be summed over processes."""
        yield from self.blocks
        yield from self.penalty
        for parts in self.slices.values():
            yield from parts

    def combine(self, coefficients: Tensor) -> list[Tensor]:
        """sum_k coefficients_k g_k plus the regulariser's gradient, for each parameter [...].

        A coefficient of 0 drops its gradient: that of a masked reward may hold NaN, which a product
        with 0 would keep.
        """
        kept = coefficients.nonzero().flatten()
        like = self.blocks[0]
        # Moved once: a copy to the device for every parameter would make it wait each time.
        weights, kept = coefficients[kept].to(like), kept.to(like.device)
        return [
            torch.tensordot(weights, block[:, kept].sum(0), dims=1) + penalty
            for block, penalty in zip(self.blocks, self.penalty, strict=True)
        ]


def contracted_gradients(
    policies: Policies,
    batch: TrainingBatch,
    settings: LossSettings,
    pull_share: float = 1.0,
    *,
    parts: bool = True,
) -> RewardGradients:
    """g_k = grad L_k for every reward, in :data:`PARTS`.

    The pull and the regulariser are computed on a random ``pull_share`` of the micro-batches (at
    least one) and reweighted; the reference policy, and every backward pass but the first, run
    there only. With a share of 1 the gradients equal
    :func:`~marblecli.train.backward.reward_gradients` to rounding. The signal of the batch's
    slices, if it has any, comes besides.

    Without ``parts`` there are whole gradients only, in a third of the memory, and no slices.
    """
    rewards = batch.optimality.shape[1]
    layout = Layout(rewards, len(batch.slices) if parts else 0, parts)
    contraction = Contraction(
        policies.network("trained"),
        policies.layer_parameters(),
        columns=layout.penalty + 1,
        checkpoints=policies.checkpoints,
        shards=policies.shards,
    )
    pulled, weight = _pulled(batch, settings, pull_share, policies.shards.sharded)
    with contraction.tapped():
        for index, rows in enumerate(batch.rows(settings.micro_batch_size)):
            pulls = index in pulled
            micro = forward(policies, rows, settings, regularised=pulls)
            passes = backward_passes(layout, micro, batch, settings, weight if pulls else 0.0)
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
    )


def _pulled(
    batch: TrainingBatch, settings: LossSettings, share: float, together: bool = False
) -> tuple[frozenset[int], float]:
    """Which micro-batches compute the pull, and by what it is multiplied there."""
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
