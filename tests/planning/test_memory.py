"""The plan against a model's own parts, and against a whole step on real tensors."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.training_utils import EMAModel
from torch import nn
from torch.nn.utils import clip_grad_norm_

from marblecli.engine.optimizer import make_optimizer
from marblecli.models.architectures import folder_architecture
from marblecli.models.backbone import Backbone
from marblecli.models.sd3.family import SD3
from marblecli.planning.fake_model import ModelCase
from marblecli.planning.live_bytes import LiveBytes
from marblecli.planning.memory import accumulated_sets, count_memory
from marblecli.planning.micro_step import gradient_case
from marblecli.planning.plan import GIB, PHASES, MemoryPlan, Phase, RewardWeights
from marblecli.planning.simulation import Simulation
from marblecli.planning.subject import Subject
from marblecli.settings import Recipe
from marblecli.train.batch import row_slices
from marblecli.train.gradients.reward_gradients import contracted_gradients
from marblecli.train.rollout import Sampling, integrate
from support.planning import (
    RESOLUTION,
    TINY,
    bytes_of,
    loss_settings,
    real_batch,
    real_frozen,
    real_policies,
    recipe_of,
    small_simulation,
    small_subject,
    uncollected,
)

FP32 = "model.dtype=fp32"


@cache
def tiny() -> Simulation:
    return Simulation(Subject(SD3, folder_architecture(TINY)), "cpu")


def count(*overrides: str, **tables: dict[str, Any]) -> MemoryPlan:
    return count_memory(recipe_of(*overrides, **tables), small_simulation(), {})


def count_tiny(*overrides: str) -> MemoryPlan:
    resolution = "sampling.resolution=32"
    return count_memory(recipe_of(FP32, resolution, *overrides), tiny(), {})


def row(plan: MemoryPlan, label: str) -> dict[Phase, int]:
    (found,) = [item for item in plan.items if item.label.startswith(label)]
    return dict(found.bytes)


def held(*modules: nn.Module) -> int:
    return sum(
        value.nbytes
        for module in modules
        for value in (*module.parameters(), *module.buffers())
        if value.is_floating_point()
    )


def test_frozen_parts_take_what_a_loaded_pipeline_takes() -> None:
    pipeline, plan = StableDiffusion3Pipeline.from_pretrained(TINY), count_tiny()
    assert set(row(plan, "VAE").values()) == {held(pipeline.vae)}
    assert set(row(plan, "VAE")) == set(PHASES)
    assert set(row(plan, "transformer (frozen)").values()) == {held(pipeline.transformer)}
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    assert row(plan, "text encoders") == {"prompts": held(*encoders)}


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_belongs_to_trained_weights_takes_what_it_takes(mode: str) -> None:
    asked = (f"model.mode={mode}", "measure.slices_every=0")
    plan, recipe = count(*asked), recipe_of(*asked)
    policies = real_policies(case_of(recipe))
    trained = sum(p.nbytes for p in policies.trained_parameters().values())
    assert plan.trained == trained // 4
    own = held(policies.network("trained")) if mode == "full" else trained
    for label, size in (
        ("trained weights", own),
        ("old policy", own),
        ("moving average", trained),
        ("optimizer state", 2 * trained),
        ("gradient accumulators (7)", 7 * trained),
        ("the update's copies", 2 * trained),
    ):
        assert row(plan, label)["update"] == size, label
    assert "prompts" not in row(plan, "trained weights")
    elsewhere = count(*asked, "training.ema_on_cpu=true")
    assert plan.total("update") - elsewhere.total("update") == elsewhere.cpu_peak == trained
    assert plan.cpu_peak == 0


def case_of(recipe: Recipe) -> ModelCase:
    return ModelCase(small_subject(), recipe.model, RESOLUTION, device="cpu")


@pytest.mark.parametrize(
    ("overrides", "sets"),
    [
        # Two rewards: 2 x 2 halves and 2 pulls, the slices of one source and three thirds, and one
        # for the regulariser.
        ((), 2 * 3 + 2 * (1 + 3) + 1),
        (("measure.slices_every=0",), 2 * 3 + 1),
        (("measure.parts=false",), 2 + 1),
        (("training.gradients=backward",), 2 + 1),
    ],
)
def test_the_sets_of_gradients(overrides: tuple[str, ...], sets: int) -> None:
    assert accumulated_sets(recipe_of(*overrides)) == sets


@pytest.mark.parametrize("parts", [True, False])
def test_as_many_sets_are_accumulated_as_are_counted(parts: bool) -> None:
    recipe = recipe_of(f"measure.parts={str(parts).lower()}")
    case, passes = case_of(recipe), gradient_case(recipe)
    policies, batch = real_policies(case), real_batch(case, passes, 2)
    batch = replace(batch, slices=row_slices(["scenes"] * 2, batch.levels))
    made = contracted_gradients(policies, batch, loss_settings(passes, 2), parts=parts)
    one = sum(p.nbytes for p in policies.trained_parameters().values())
    assert bytes_of(list(made.tensors())) == accumulated_sets(recipe) * one


def test_a_gradient_memory_takes_a_gradient_of_each_reward_from_the_first_step_on() -> None:
    plan = count("balance.method=noise-aware")
    kept = row(plan, "gradient memory (2)")
    assert kept == dict.fromkeys(PHASES[1:], 2 * 4 * plan.trained)
    assert not [item for item in count().items if "memory (" in item.label]
    phased = count(balance={"phases": [{"method": "noise-aware", "until": 3}]})
    assert row(phased, "gradient memory (2)") == kept


def test_fresh_images_have_gradients_of_their_own_beside() -> None:
    plan = count("measure.fresh_every=5", "measure.parts=false")
    assert row(plan, "those of fresh images (7)")["gradients"] == 7 * 4 * plan.trained


@pytest.mark.parametrize(
    "model",
    [("lora", False), ("lora", True), ("full", False), ("full", True)],
    ids=["lora", "lora, checkpointed", "full", "full, checkpointed"],
)
def test_a_step_takes_what_is_planned_within_five_percent(model: tuple[str, bool]) -> None:
    """Everything but the VAE, from the weights on: live bytes of real tensors."""
    mode, checkpointing = model
    recipe = recipe_of(
        f"model.mode={mode}",
        f"model.gradient_checkpointing={str(checkpointing).lower()}",
        "measure.slices_every=0",
    )
    plan = count_memory(recipe, small_simulation(), {})
    measured = real_step(recipe)
    for phase, peak in measured.items():
        assert plan.total(phase) - row(plan, "VAE")[phase] == pytest.approx(peak, rel=0.05), phase


def real_step(recipe: Recipe) -> dict[Phase, int]:
    """The most bytes in the gradients of a whole batch, and in the update that follows."""
    case, passes = case_of(recipe), gradient_case(recipe)
    images, levels = 6, recipe.training.noise_levels
    with uncollected(), LiveBytes() as live:
        policies = real_policies(case)
        parameters = list(policies.trained_parameters().values())
        average = EMAModel(parameters)
        optimizer = make_optimizer(parameters, recipe.training)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad()
        batch = real_batch(case, passes, images, levels)
        live.peak = live.now
        made = contracted_gradients(policies, batch, loss_settings(passes, 4))
        gradients = live.peak
        live.peak = live.now
        for parameter, gradient in zip(parameters, made.combine(torch.ones(2)), strict=True):
            parameter.grad = gradient
        before = [parameter.detach().clone() for parameter in parameters]
        clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        average.step(parameters)
        assert len(before) == len(parameters)
    return {"gradients": gradients, "update": live.peak}


def test_sampling_and_decoding_take_what_is_planned_within_five_percent() -> None:
    recipe = recipe_of("sampling.batch_size=6")
    case, subject = case_of(recipe), small_subject()
    plan = count_memory(recipe, small_simulation(), {})
    policies = real_policies(case)
    backbone = Backbone(real_frozen(subject, recipe.model))
    noise = torch.randn(6, *subject.latent_shape(RESOLUTION))
    with uncollected():
        with LiveBytes() as sampling:
            conditioning = case.conditioning(6)
            latents = integrate(backbone, policies, Sampling("old", 4), noise.clone(), conditioning)
        with LiveBytes() as decoding:
            backbone.decode(latents)
    own = row(plan, "sampling 6 images at a time")["sampling"]
    assert own == pytest.approx(sampling.peak, rel=0.05)
    own = row(plan, "decoding 6 images at a time")["decoding"]
    assert own == pytest.approx(decoding.peak, rel=0.05)


def test_sharded_weights_and_all_of_their_size_are_shared_out() -> None:
    simulation = Simulation(small_subject(num_layers=2), "cpu")

    def plan_of(processes: int, **model: bool) -> MemoryPlan:
        recipe = recipe_of("measure.parts=false", model={"mode": "full", **model})
        return count_memory(recipe, simulation, {}, processes)

    whole, half = plan_of(2), plan_of(2, shard=True)
    for label in ("moving average", "optimizer state", "gradient accumulators", "the update's"):
        assert row(half, label)["update"] == pytest.approx(
            row(whole, label)["update"] / 2, rel=0.01
        )
    assert "prompts" not in row(half, "reference")
    # Whole blocks are gathered for a moment.
    passes = [row(plan, "a pass over it")["gradients"] for plan in (whole, half)]
    assert passes[1] > passes[0]
    assert half.trained == whole.trained
    assert plan_of(1, shard=True) == plan_of(1)
    away = plan_of(1, offload=True)
    assert {item.label for item in away.items if item.on_cpu} >= {"old policy", "moving average"}
    assert away.cpu_peak > row(whole, "trained weights")["update"]
    assert away.total("update") < half.total("update")
    # Of what is offloaded, buffers stay on the device.
    assert row(away, "buffers")["sampling"] == (2 + 4 + 4) * simulation.network.buffers


def test_settings_take_away_what_they_are_for() -> None:
    whole, auto = count(), count("training.micro_batch_size=auto")
    assert row(auto, "activations")["gradients"] == whole.row
    assert row(whole, "activations, micro-batch of 4")["gradients"] == 4 * whole.row
    checkpointed = count("model.gradient_checkpointing=true")
    assert (checkpointed.row, checkpointed.row_otherwise) == (whole.row_otherwise, whole.row)
    assert checkpointed.row < whole.row / 8
    state = row(count("training.optimizer=adamw-8bit"), "optimizer state")["update"]
    assert state == row(whole, "optimizer state")["update"] // 4
    without = count("model.t5=none")
    assert 0 < row(without, "text encoders")["prompts"] < row(whole, "text encoders")["prompts"]


def test_rewards_are_there_while_they_score_and_offloaded_ones_only_then() -> None:
    rewards = {
        "a": RewardWeights(3 * GIB),
        "b": RewardWeights(5 * GIB, offloaded=True),
        "c": RewardWeights(None),
    }
    plan = count_memory(recipe_of(), small_simulation(), rewards)
    assert row(plan, "rewards' weights") == {
        "sampling": 8 * GIB,
        "decoding": 8 * GIB,
        "gradients": 3 * GIB,
        "update": 3 * GIB,
    }
    assert plan.unknown_rewards == ("c",)
