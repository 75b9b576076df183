from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.models.backbone import Backbone
from marblecli.models.conditioning import Conditioning
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.models.solver import FlowSolver
from marblecli.seeding import torch_stream
from marblecli.settings import ModelSettings
from marblecli.train.rollout import (
    Guidance,
    Sampling,
    draw_prompts,
    integrate,
    sample,
    sample_and_score,
)
from marblecli.train.sampler import Sampler
from marblecli.train.trainer import Trainer
from marblecli.types import Prompt

SOURCES = (
    tuple(Prompt(f"scene {n}", "scenes") for n in range(6)),
    tuple(Prompt(f"letters {n}", "letters") for n in range(2)),
    tuple(Prompt(f"plain {n}", "plain") for n in range(3)),
)


def drawn(per_step: int, steps: int, seed: int = 0) -> list[Prompt]:
    return [
        prompt
        for step in range(1, steps + 1)
        for prompt in draw_prompts(SOURCES, per_step, step, seed)
    ]


@pytest.mark.parametrize("per_step", [1, 2, 3, 7])
def test_sources_have_equal_shares_whatever_their_sizes(per_step: int) -> None:
    assert Counter(prompt.source for prompt in drawn(per_step, 6)) == dict.fromkeys(
        ("scenes", "letters", "plain"), 2 * per_step
    )


def test_every_prompt_is_drawn_once_in_each_epoch_of_its_source() -> None:
    per_source = {
        source[0].source: [p.text for p in drawn(3, 24) if p.source == source[0].source]
        for source in SOURCES
    }
    orders = set()
    for source in SOURCES:
        texts, size = per_source[source[0].source], len(source)
        assert len(texts) == 24
        epochs = [tuple(texts[at : at + size]) for at in range(0, 24, size)]
        assert all(sorted(epoch) == sorted(p.text for p in source) for epoch in epochs)
        orders |= set(epochs[:4]) if size == 6 else set()
    assert len(orders) == 4, "each epoch has an order of its own"


def test_the_draw_depends_only_on_its_arguments() -> None:
    forwards = drawn(4, 5)
    backwards = [draw_prompts(SOURCES, 4, step, 0) for step in (5, 4, 3, 2, 1)]
    assert [prompt for step in reversed(backwards) for prompt in step] == forwards
    assert drawn(4, 5, seed=1) != forwards


DEVIATION = 0.5
"""The standard deviation of the clean data along every coordinate; the exact flow is known."""


class GaussianFlow:
    """v = E[noise - x0 | x_t] where x0 is normal with mean 0: linear in x, smooth in t."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    def velocity(self, name: str, noised: Tensor, noise_level: Tensor, _: object) -> Tensor:
        self.asked.append((name, len(noised)))
        t = noise_level.view(-1, 1, 1, 1)
        variance = (1 - t) ** 2 * DEVIATION**2 + t**2
        return noised * (t - (1 - t) * DEVIATION**2) / variance


def gaussian_sampler(steps: int) -> Sampler:
    pipeline = SimpleNamespace(
        scheduler=SimpleNamespace(config=SimpleNamespace(shift=1.0)),
        vae=SimpleNamespace(device=torch.device("cpu")),
        vae_scale_factor=4,
        encode_prompt=lambda prompt, **_: (torch.zeros(len(prompt), 1, 1),) * 4,
        text_encoder=None,
        text_encoder_2=None,
        text_encoder_3=None,
    )
    backbone = Backbone(SD3Frozen(pipeline, ModelSettings(pretrained="x")))
    backbone.embed([""])
    return SimpleNamespace(backbone=backbone, policies=GaussianFlow())


def exact_end(first: float) -> float:
    """Where the exact flow leads from 1 at the noise level ``first``."""
    return DEVIATION / math.sqrt((1 - first) ** 2 * DEVIATION**2 + first**2)


def solver_error(steps: int) -> float:
    """The relative distance from the exact solution."""
    sampler = gaussian_sampler(steps)
    exact = exact_end(float(sampler.backbone.solver(steps, (1, 1, 1)).levels[0]))
    one = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    found = integrate(
        sampler.backbone,
        sampler.policies,
        Sampling("old", steps),
        one,
        sampler.backbone.conditioning([""]),
    )
    return abs(float(found) - exact) / exact


def euler_error(steps: int) -> float:
    """The relative error of Euler's method on the same grid."""
    sampler = gaussian_sampler(steps)
    grid = sampler.backbone.solver(steps, (1, 1, 1)).levels.double()
    latents = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    for here, there in pairwise(grid):
        latents += (there - here) * sampler.policies.velocity("old", latents, here, None)
    exact = exact_end(float(grid[0]))
    return abs(float(latents) - exact) / exact


def test_the_solver_is_of_second_order() -> None:
    """With twice the steps, the error falls to nearly a quarter (up to a logarithm).

    That of Euler's method only halves.
    """
    errors = [solver_error(steps) for steps in (80, 160, 320)]
    for coarse, fine in pairwise(errors):
        assert 3.2 < coarse / fine < 4.2
    assert euler_error(80) / euler_error(160) == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("steps", [10, 20, 40])
def test_with_few_steps_the_error_is_a_fifth_of_eulers(steps: int) -> None:
    assert solver_error(steps) < euler_error(steps) / 5


class PromptedFlow:
    """A constant velocity that the prompt alone decides."""

    def __init__(self) -> None:
        self.calls = 0

    def velocity(self, name: str, noised: Tensor, level: Tensor, prompt: Conditioning) -> Tensor:
        self.calls += 1
        return prompt.tensors["pooled"].view(-1, 1, 1, 1).expand_as(noised)


class PromptedBackbone:
    """Its prompts are numbers."""

    device = torch.device("cpu")

    def conditioning(self, texts: Sequence[str]) -> Conditioning:
        return Conditioning({"pooled": torch.tensor([float(text) for text in texts])})

    def solver(self, steps: int, shape: Sequence[int]) -> FlowSolver:
        return FlowSolver(steps, 1.0)


def guided(guidance: Guidance | None, *texts: str) -> tuple[Tensor, int]:
    """The end of the flow from 0, and how often the network was evaluated in 4 steps."""
    backbone, flow = PromptedBackbone(), PromptedFlow()
    noise = torch.zeros(len(texts), 1, 1, 1)
    sampling = Sampling("trained", 4, guidance)
    end = integrate(backbone, flow, sampling, noise, backbone.conditioning(texts))
    return end.flatten(), flow.calls


def test_guidance_goes_away_from_the_negative_prompt() -> None:
    """3 + 2 (5 - 3) = 7, and 3 + 2 (1 - 3) = -1."""
    end, calls = guided(Guidance(2.0, "3"), "5", "1")
    torch.testing.assert_close(end, guided(None, "7", "-1")[0])
    assert calls == 8


def test_a_scale_of_one_is_no_guidance() -> None:
    end, _ = guided(Guidance(1.0, "3"), "5", "1")
    without, calls = guided(None, "5", "1")
    torch.testing.assert_close(end, without)
    assert calls == 4


def test_the_network_is_evaluated_once_a_step() -> None:
    sampler = gaussian_sampler(7)
    conditioning = sampler.backbone.conditioning(["", "", ""])
    integrate(
        sampler.backbone, sampler.policies, Sampling("old", 7), torch.ones(3, 1, 1, 1), conditioning
    )
    assert sampler.policies.asked == [("old", 3)] * 7


def generators(count: int, seed: int = 0) -> list[torch.Generator]:
    return [torch_stream(seed, "test", index) for index in range(count)]


OLD = Sampling("old", 3)


def in_batches(sampler: Sampler, size: int) -> Sampler:
    sampling = sampler.recipe.sampling.model_copy(update={"batch_size": size})
    return replace(sampler, recipe=sampler.recipe.model_copy(update={"sampling": sampling}))


def nobody(images: Tensor, prompts: Sequence[Prompt]) -> None: ...


@pytest.fixture
def tiny(open_tiny: Callable[..., Trainer]) -> tuple[Sampler, tuple[Prompt, ...]]:
    """A sampler of the base model, and three prompts."""
    trainer = open_tiny({"sampling.batch_size": 4})
    prompts = tuple(prompt for source in trainer.sampler.prompts.train for prompt in source)
    return trainer.sampler, prompts


def test_images_of_a_prompt_are_consecutive(tiny: tuple[Sampler, tuple[Prompt, ...]]) -> None:
    sampler, prompts = tiny
    rollout = sample(sampler, OLD, prompts, 2, generators(3), nobody)
    assert rollout.prompts == tuple(prompts[index] for index in (0, 0, 1, 1, 2, 2))
    assert rollout.groups.tolist() == [0, 0, 1, 1, 2, 2]
    assert rollout.latents.shape == (6, 8, 4, 4)
    assert rollout.images.shape == (6, 3, 16, 16)
    assert torch.equal(rollout.images, sampler.backbone.decode(rollout.latents))
    assert len({image.numpy().tobytes() for image in rollout.images}) == 6


def test_images_depend_neither_on_the_batch_size_nor_on_the_other_prompts(
    tiny: tuple[Sampler, tuple[Prompt, ...]],
) -> None:
    sampler, prompts = tiny
    whole = sample(in_batches(sampler, 100), OLD, prompts, 2, generators(3), nobody)
    for size in (1, 4):
        cut = sample(in_batches(sampler, size), OLD, prompts, 2, generators(3), nobody)
        torch.testing.assert_close(cut.latents, whole.latents, rtol=1e-4, atol=1e-5)
    alone = sample(sampler, OLD, prompts[2:], 2, generators(3)[2:], nobody)
    torch.testing.assert_close(alone.latents, whole.latents[4:], rtol=1e-4, atol=1e-5)


def test_the_same_generators_give_the_same_bits_and_other_ones_do_not(
    tiny: tuple[Sampler, tuple[Prompt, ...]],
) -> None:
    sampler, prompts = tiny
    first, again = (sample(sampler, OLD, prompts, 2, generators(3), nobody) for _ in range(2))
    assert torch.equal(first.images, again.images)
    other = sample(sampler, OLD, prompts, 2, generators(3, seed=1), nobody)
    assert not torch.allclose(first.latents, other.latents)


def test_each_batch_is_handed_over_before_the_next_is_sampled(
    tiny: tuple[Sampler, tuple[Prompt, ...]],
) -> None:
    sampler, prompts = tiny
    log: list[object] = []
    velocity = sampler.policies.velocity

    def logging_velocity(name: str, noised: Tensor, *rest: object) -> Tensor:
        log.append(len(noised))
        return velocity(name, noised, *rest)

    def hand_over(images: Tensor, batch: Sequence[Prompt]) -> None:
        assert images.shape[1:] == (3, 16, 16)
        log.append([prompt.text for prompt in batch])

    sampler.policies.velocity = logging_velocity
    sample(sampler, OLD, prompts, 2, generators(3), hand_over)
    texts = [prompt.text for prompt in prompts for _ in range(2)]
    assert log == [4, 4, 4, texts[:4], 2, 2, 2, texts[4:]]


def test_scores_are_in_the_order_of_the_images(open_tiny: Callable[..., Trainer]) -> None:
    trainer = open_tiny({"sampling.batch_size": 4})
    prompts = tuple(prompt for source in trainer.sampler.prompts.train for prompt in source)
    rollout, table = sample_and_score(trainer.sampler, OLD, prompts, 2, generators(3))
    np.testing.assert_allclose(table.values[:, 0], rollout.images.mean((1, 2, 3)), rtol=1e-5)
    assert table.valid[:, 2].tolist() == [False] * 4 + [True] * 2
