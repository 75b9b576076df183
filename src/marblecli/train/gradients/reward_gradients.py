"""The K reward gradients of one batch, by two backward passes for each micro-batch, for any K."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from marblecli.models.policies import Policies
from marblecli.seeding import stream
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.contraction import Contraction
from marblecli.train.gradients.micro_step import Layout, backward_passes, forward

WHOLE = ("whole",)
PARTS = ("signal-a", "signal-b", "pull")
"""The signal (the part that depends on the rewards) of each half of the batch, and the pull
towards the old policy."""


@dataclass(frozen=True)
class RewardGradients:
    """The gradients of one optimizer batch, parameter by parameter.

    Where the parameters are sharded, these are the gradients of this process's rows of them.
    """

    blocks: list[Tensor]
    """For each parameter [P, K, ...]: the P parts of every g_k, whose sum is g_k."""
    penalty: list[Tensor]
    """For each parameter [...]: the gradient of the regulariser, which isn't balanced."""
    parts: tuple[str, ...] = WHOLE
    """The names of the P parts."""
    slices: Mapping[str, list[Tensor]] = field(default_factory=dict)
    """By slice, for each parameter [K, ...]: the signal of the slice's rows."""

    def whole(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k; one by one, so that no second copy of all is held."""
        return (block.sum(0) for block in self.blocks)

    def signal(self) -> Iterator[Tensor]:
        """For each parameter [K, ...], g_k without the pull."""
        return (block[:2].sum(0) for block in self.blocks)

    def tensors(self) -> Iterator[Tensor]:
        """All tensors, which have to be summed over the processes."""
        yield from self.blocks
        yield from self.penalty
        for parts in self.slices.values():
            yield from parts

    def combine(self, coefficients: Tensor) -> list[Tensor]:
        """sum_k coefficients_k g_k plus the regulariser's gradient, for each parameter [...].

        A gradient whose coefficient is 0 is left out: a masked reward's gradient may hold NaN, and
        0 times NaN is NaN.
        """
        kept = coefficients.nonzero().flatten()
        like = self.blocks[0]
        # These are copied once: a copy for every parameter would make the device wait each time.
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

    The pull and the regulariser are computed on a random share ``pull_share`` of the micro-batches
    (at least one), and multiplied by the inverse of the share. Only these micro-batches need the
    reference policy, and more than one backward pass. With a share of 1, the gradients equal
    :func:`~marblecli.train.gradients.plain.reward_gradients` to rounding. If the batch has slices,
    their signal is computed, too.

    Without ``parts``, there are only whole gradients, in a third of the memory, and no slices.
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
    """Which micro-batches compute the pull, and the factor that it is multiplied by there.

    ``together`` says whether processes with sharded weights run their networks together.
    """
    count = batch.micro_steps(settings.micro_batch_size)
    if not count:
        return frozenset(), 0.0
    chosen = max(1, round(share * count))
    seed, *place = batch.noise_seed
    # Every process draws among its own micro-batches: the sum over processes is still right on
    # average. Processes that run their networks together have to draw the same micro-batches.
    drawn_by = (batch.start,) if batch.start and not together else ()
    picked = stream(seed, "anchors", *place, *drawn_by).choice(count, chosen, replace=False)
    return frozenset(picked.tolist()), count / chosen
