"""How many floating-point operations a step takes, counted on fake tensors by torch's own counter.

A product of two numbers and the addition of it are two operations. Only matrix products,
convolutions and attention are counted, as :mod:`torch.utils.flop_counter` does: the rest is
limited by memory, not by operations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from marblecli.methods.host import find_method
from marblecli.planning.fake_model import FakeModel, ModelCase
from marblecli.planning.micro_step import GradientCase, fake_batch, fake_settings, gradient_case
from marblecli.planning.plan import micro_batch_images, trained_rows
from marblecli.planning.stacks import kinds
from marblecli.planning.subject import Subject
from marblecli.settings import Recipe
from marblecli.train.gradients.plain import amortised_backward, reward_gradients
from marblecli.train.gradients.reward_gradients import contracted_gradients

Shape = Sequence[int]

_ROWS = 2
"""Rows of a counted pass; operations grow in proportion to them."""


def _attention(query: Shape, key: Shape, value: Shape, *_: Any, **__: Any) -> int:
    return int(sdpa_flop_count(query, key, value))


def _attention_backward(
    grad: Shape, query: Shape, key: Shape, value: Shape, *_: Any, **__: Any
) -> int:
    return int(sdpa_backward_flop_count(grad, query, key, value))


def _product(_total: Shape, one: Shape, two: Shape, *_: Any, **__: Any) -> int:
    """Of [..., n, k] and [..., k, m]."""
    return int(2 * math.prod(one) * two[-1])


_MORE = {
    # In-place products, by which the contraction accumulates gradients.
    torch.ops.aten.addmm_: _product,
    torch.ops.aten.baddbmm_: _product,
    # The attention of the CPU, on which fake tensors are.
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_backward,
}
"""Operations that torch's counter doesn't know, by their shapes."""


@dataclass(frozen=True)
class StepOperations:
    """Operations of one optimizer step of one process, and of an evaluation."""

    sampling: float
    """The network's passes that sample the step's images."""
    decoding: float
    """The decoding of these images."""
    gradients: float
    """All passes over the step's rows, forwards and backwards."""
    evaluated_image: float
    """Those of one image of an evaluation, sampled and decoded."""

    @property
    def step(self) -> float:
        """All of them."""
        return self.sampling + self.decoding + self.gradients


def count_operations(recipe: Recipe, subject: Subject, processes: int) -> StepOperations:
    """Count the passes of a step of the process with the most images.

    Scoring, the embedding of prompts and the optimizer aren't among them.
    """
    sampling, resolution = recipe.sampling, recipe.sampling.resolution
    model = recipe.model.model_copy(update={"shard": False, "offload": False})
    counter = _Counter(ModelCase(subject, model, resolution, 1, "cpu"))
    images = -(-sampling.prompts_per_step // processes) * sampling.group_size
    forward, decoded = counter.forward(), _decoding(subject, recipe)
    return StepOperations(
        sampling=images * sampling.steps * forward,
        decoding=images * decoded,
        gradients=_gradients(recipe, counter, trained_rows(recipe, images)),
        evaluated_image=recipe.eval.steps * forward + decoded,
    )


def _counting() -> FlopCounterMode:
    return FlopCounterMode(display=False, custom_mapping=dict(_MORE))


class _Counter:
    """Operations of the passes of whole policies, for each row.

    Equal blocks take equal operations. So the network runs with one block of each kind, and once
    more for each kind with two of it.
    """

    def __init__(self, case: ModelCase) -> None:
        self._case = case
        self._fakes = [(self._fake(kept), factor) for kept, factor in _shares(case)]
        """Networks with some of the blocks, and the factors of the sum that is the whole one."""

    def _fake(self, kept: Sequence[int]) -> FakeModel:
        fake = FakeModel(self._case, kept=kept)
        fake.checkpointing = self._case.model.gradient_checkpointing
        return fake

    def forward(self) -> float:
        """A pass of the policy that samples."""

        def one(fake: FakeModel) -> None:
            with torch.no_grad():
                fake.policies.velocity("old", *fake.inputs(_ROWS))

        return self._count(one) / _ROWS

    def gradients(self, case: GradientCase, *, parts: bool) -> tuple[float, float]:
        """All passes of a measured micro-batch with the pull, and of one without it."""

        def micro_batches(count: int) -> Callable[[FakeModel], None]:
            def one(fake: FakeModel) -> None:
                batch, settings = (
                    fake_batch(self._case, case, _ROWS, count),
                    fake_settings(case, _ROWS),
                )
                if case.kind == "contracted":
                    # One of them has the pull.
                    share = 1 / count
                    contracted_gradients(fake.policies, batch, settings, share, parts=parts)
                else:
                    reward_gradients(fake.policies, batch, settings)

            return one

        pulled = self._count(micro_batches(1))
        other = self._count(micro_batches(2)) - pulled if case.kind == "contracted" else pulled
        return pulled / _ROWS, other / _ROWS

    def reused(self, case: GradientCase) -> float:
        """All passes of a micro-batch whose rewards have their coefficients already."""

        def one(fake: FakeModel) -> None:
            batch, settings = fake_batch(self._case, case, _ROWS, 1), fake_settings(case, _ROWS)
            amortised_backward(fake.policies, batch, settings, torch.ones(case.rewards))

        return self._count(one) / _ROWS

    def _count(self, one: Callable[[FakeModel], None]) -> float:
        return sum(factor * _counted(fake, one) for fake, factor in self._fakes)


def _shares(case: ModelCase) -> list[tuple[list[int], int]]:
    """How many blocks of each kind run, and how often that counts.

    With n_k blocks of kind k, f of one block each and f_k of one more of kind k, all of them take
    f + sum_k (n_k - 1) (f_k - f).
    """
    blocks = kinds(case.subject.family.blocks(case.subject.network()))
    if case.numbered:
        return [(blocks, 1)]
    single = [1] * len(blocks)
    more = [
        ([1 + (other == kind) for other in range(len(blocks))], count - 1)
        for kind, count in enumerate(blocks)
        if count > 1
    ]
    return [(single, 1 - sum(factor for _, factor in more)), *more]


def _counted(fake: FakeModel, one: Callable[[FakeModel], None]) -> float:
    with fake.running(), _counting() as counter:
        one(fake)
    return float(counter.get_total_flops())


def _gradients(recipe: Recipe, counter: _Counter, rows: int) -> float:
    """The passes over ``rows`` rows, on average over steps that measure and steps that don't."""
    case, training, balance = gradient_case(recipe), recipe.training, recipe.balance
    parts = recipe.measure.parts
    with_pull, without = counter.gradients(case, parts=parts)
    measured = training.pull_share * with_pull + (1.0 - training.pull_share) * without
    spec = find_method(balance.method)
    if spec.targets is not None:
        # The step is a backward pass of its own, beside the rows that are measured.
        head = spec.needs.rows == "head"
        return (
            measured * (micro_batch_images(recipe) if head else rows) + counter.reused(case) * rows
        )
    each = balance.refresh_every
    if each == 1:
        return measured * rows
    return rows * (measured + (each - 1) * counter.reused(case)) / each


def _decoding(subject: Subject, recipe: Recipe) -> float:
    """The decoding of one image."""
    mode = FakeTensorMode()
    frozen = subject.frozen(mode, recipe.model, encoders=False)
    with mode, torch.no_grad():
        latents = torch.zeros(1, *subject.latent_shape(recipe.sampling.resolution))
        with _counting() as counter:
            frozen.decode(latents)
    return float(counter.get_total_flops())
