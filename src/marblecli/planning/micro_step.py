"""What one micro-batch's gradients hold: the training's own functions, run on fake tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from marblecli.methods.host import find_method
from marblecli.models.policies import Policies
from marblecli.planning.fake_model import FakeModel, ModelCase
from marblecli.planning.timeline import Growth, Timeline
from marblecli.planning.weights import FULL
from marblecli.settings import Recipe
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.contraction import Contraction
from marblecli.train.gradients.plain import amortised_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import contracted_gradients

_CONSTANTS = {"mix": 0.1, "advantage_clip": 5.0}
"""Of the loss; they change no tensor's size."""
_KL_WEIGHT = 1e-4


@dataclass(frozen=True)
class GradientCase:
    """What decides, besides the model, which passes a micro-batch makes."""

    rewards: int
    kind: Literal["contracted", "backward"]
    regularised: bool
    amortised: bool
    """Whether some steps reuse the coefficients of an earlier one, and make one plain backward
    pass."""


def gradient_case(recipe: Recipe) -> GradientCase:
    """The passes that the recipe asks for."""
    training, balance = recipe.training, recipe.balance
    methods = {balance.method, *(each.method for each in balance.phases)}
    return GradientCase(
        rewards=len(recipe.rewards),
        kind=training.gradients,
        regularised=training.kl_weight > 0.0,
        amortised=balance.refresh_every > 1 or any(find_method(name).targets for name in methods),
    )


@dataclass(frozen=True)
class MicroStep:
    """Bytes that a micro-batch holds, whatever its size, beside weights and accumulators."""

    measured: Growth
    """Accumulators included."""
    accumulators: int
    """Bytes of the accumulators in :attr:`measured`."""
    forward: tuple[int, int]
    """The moments in :attr:`measured` before and after the trained policy's forward pass."""
    missing: int
    """Bytes of one gradient of the blocks that were taken out. Plain backward passes hold it, which
    the fake ones don't."""
    plain: bool
    """Whether :attr:`measured` is of plain backward passes."""
    reused: Growth | None
    """Of a step that reuses coefficients: no accumulators, but one gradient of every weight."""

    @property
    def row(self) -> int:
        """Bytes that each row keeps for the backward passes."""
        before, after = self.measured.row[list(self.forward)]
        return round(float(after - before))

    def peak(self, rows: int, accumulators: int) -> int:
        """The most bytes at once, beside ``accumulators`` bytes of the recipe's accumulators."""
        peak = self.measured.peak(rows) - self.accumulators + self.plain * self.missing
        if self.reused is not None:
            # Its graph goes as its gradients come: only at the end all of these are there.
            end = self.reused.at(-1, rows) + self.missing
            peak = max(peak, self.reused.peak(rows) - accumulators, end - accumulators)
        return peak


def measure_micro_step(fake: FakeModel, case: GradientCase) -> MicroStep:
    """Run one micro-batch on fake tensors, with every pass that the training may make of it."""
    forward = _Marks()
    accumulators = [0]

    def gradients(policies: Policies, rows: int, timeline: Timeline) -> None:
        batch, settings = fake_batch(fake.case, case, rows), fake_settings(case, rows)
        find = contracted_gradients if case.kind == "contracted" else reward_gradients
        with forward.watching(policies.network("trained"), timeline), timeline:
            made = find(policies, batch, settings)
            accumulators[0] = _bytes_of(list(made.tensors()))

    def reused(policies: Policies, rows: int, timeline: Timeline) -> None:
        batch, settings = fake_batch(fake.case, case, rows), fake_settings(case, rows)
        with timeline:
            amortised_backward(policies, batch, settings, torch.ones(case.rewards))
            for parameter in policies.trained_parameters().values():
                parameter.grad = None

    measured = fake.measure(gradients)
    return MicroStep(
        measured,
        accumulators=accumulators[0],
        forward=(forward.before, forward.after),
        missing=FULL * fake.missing,
        plain=case.kind == "backward",
        reused=fake.measure(reused) if case.amortised else None,
    )


def kept_row(fake: FakeModel, case: GradientCase) -> int:
    """:attr:`MicroStep.row` alone, by a forward pass without its backward passes."""
    marks = _Marks()

    def forward(policies: Policies, rows: int, timeline: Timeline) -> None:
        inputs = fake.inputs(rows)
        contraction = Contraction(
            policies.network("trained"),
            policies.layer_parameters(),
            columns=1,
            checkpoints=policies.checkpoints,
            shards=policies.shards,
        )
        tapped = contraction.tapped() if case.kind == "contracted" else nullcontext()
        with marks.watching(policies.network("trained"), timeline), timeline, tapped:
            policies.velocity("trained", *inputs)

    row = fake.measure(forward).row
    return round(float(row[marks.after] - row[marks.before]))


class _Marks:
    """The moments before and after the last forward pass of a network."""

    before = after = 0

    @contextmanager
    def watching(self, network: nn.Module, timeline: Timeline) -> Iterator[None]:
        """Inside, the network's passes are marked; the trained policy's is the last of all."""

        def begin(*_: Any) -> None:
            self.before = timeline.mark()

        def end(*_: Any) -> None:
            self.after = timeline.mark()

        hooks = (network.register_forward_pre_hook(begin), network.register_forward_hook(end))
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()


def _bytes_of(tensors: list[Tensor]) -> int:
    storages = {int(x.untyped_storage()._cdata): x.untyped_storage().nbytes() for x in tensors}
    return sum(storages.values())


def fake_settings(case: GradientCase, rows: int) -> LossSettings:
    """The loss of micro-batches of ``rows`` images."""
    kl_weight = _KL_WEIGHT if case.regularised else 0.0
    return LossSettings(**_CONSTANTS, kl_weight=kl_weight, micro_batch_size=rows)


def fake_batch(model: ModelCase, case: GradientCase, rows: int, levels: int = 1) -> TrainingBatch:
    """``rows`` images, each at ``levels`` noise levels."""
    each = (rows, case.rewards)
    return TrainingBatch(
        latents=torch.zeros(rows, *model.subject.latent_shape(model.resolution)),
        conditioning=model.conditioning(rows),
        levels=torch.zeros(rows, levels),
        advantages=torch.zeros(each),
        optimality=torch.zeros(each),
        shares=torch.zeros(each),
        halves=torch.zeros(rows, levels, dtype=torch.bool),
        noise_seed=(0, 1),
    )
