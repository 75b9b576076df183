from __future__ import annotations

import pytest

from marblecli.planning.advice import Advice, advise, largest_micro_batch
from marblecli.planning.memory import count_memory
from marblecli.planning.plan import MemoryPlan, RewardWeights
from marblecli.planning.simulation import Simulation
from marblecli.settings import Recipe
from support.planning import recipe_of, small_subject, wide_simulation

MIB = 2**20
REWARDS = {"a": RewardWeights(512 * MIB), "b": RewardWeights(None)}
SIZE = ("sampling.resolution=256", "sampling.group_size=12")
LORA = (*SIZE, "sampling.batch_size=12", "training.micro_batch_size=9")
"""Activations are most of what it takes."""
FULL = (*SIZE, "model.mode=full", "measure.parts=false")


def plan_of(recipe: Recipe, rewards: dict[str, RewardWeights] | None = None) -> MemoryPlan:
    return count_memory(recipe, wide_simulation(), rewards or {})


def peak(recipe: Recipe, rewards: dict[str, RewardWeights] | None = None) -> int:
    plan = plan_of(recipe, rewards)
    return plan.total(plan.peak)


def advice_for(
    recipe: Recipe, limit: float, rewards: dict[str, RewardWeights] | None = None
) -> list[Advice]:
    return advise(recipe, wide_simulation(), rewards or {}, round(limit))


def overrides(advice: list[Advice]) -> list[str]:
    return [each for one in advice for each in one.override.split(" --set ")]


def offloaded(recipe: Recipe) -> dict[str, RewardWeights]:
    return {
        name: RewardWeights(weights.bytes, recipe.rewards[name].device == "offload")
        for name, weights in REWARDS.items()
    }


def test_a_recipe_that_fits_needs_nothing() -> None:
    recipe = recipe_of(*LORA)
    assert advice_for(recipe, peak(recipe, REWARDS), REWARDS) == []


@pytest.mark.parametrize("share", [0.7, 0.5])
def test_the_advice_taken_as_overrides_makes_the_recipe_fit(share: float) -> None:
    limit = round(share * peak(recipe_of(*LORA), REWARDS))
    advice = advice_for(recipe_of(*LORA), limit, REWARDS)
    assert advice
    changed = recipe_of(*LORA, *overrides(advice))
    plan = plan_of(changed, offloaded(changed))
    assert plan == advice[-1].plan
    assert plan.excess(limit) == 0


def test_each_change_helps_and_the_first_helps_most() -> None:
    limit = round(0.4 * peak(recipe_of(*LORA), REWARDS))
    before = plan_of(recipe_of(*LORA), REWARDS).excess(limit)
    gains = []
    for one in advice_for(recipe_of(*LORA), limit, REWARDS):
        gains.append(before - one.plan.excess(limit))
        before = one.plan.excess(limit)
    assert len(gains) > 1
    assert min(gains) > 0
    assert gains[0] == max(gains)


def test_checkpointing_comes_before_what_changes_training() -> None:
    recipe = recipe_of(*LORA)
    (one,) = advice_for(recipe, 0.7 * peak(recipe))
    assert one.override == "model.gradient_checkpointing=true"


@pytest.mark.slow
def test_adapters_instead_of_all_weights_only_where_nothing_else_is_enough() -> None:
    full = recipe_of(*FULL)
    optimizer = plan_of(recipe_of(*FULL, "training.optimizer=adamw-8bit"))
    found = overrides(advice_for(full, optimizer.total(optimizer.peak)))
    assert "model.offload=true" not in found
    assert "model.mode=lora" not in found
    plan = plan_of(full)
    weights = next(item for item in plan.items if item.label == "trained weights")
    assert advice_for(full, 5 * weights.bytes["update"])[0].override == "model.offload=true"
    # Nothing makes that fit.
    assert advice_for(full, MIB)[0].override == "model.mode=lora"


@pytest.mark.slow
def test_what_offloading_asks_for_is_advised_with_it() -> None:
    wrong = ("model.compile=true", "training.optimizer=adamw-8bit")
    full = recipe_of(*FULL, *wrong, "training.micro_batch_size=auto")
    weights = next(item for item in plan_of(full).items if item.label == "trained weights")
    first = advice_for(full, 5 * weights.bytes["update"])[0]
    assert first.override.split(" --set ") == [
        "model.offload=true",
        "model.compile=false",
        "training.optimizer=adamw",
        "training.micro_batch_size=8",
    ]
    backward = recipe_of(*FULL, "training.gradients=backward")
    assert advice_for(backward, MIB)[0].override == "model.mode=lora"


@pytest.mark.slow
def test_tiles_are_advised_only_where_decoding_is_what_doesnt_fit() -> None:
    large = ("sampling.resolution=1024", "sampling.batch_size=1", "training.micro_batch_size=1")
    recipe = recipe_of(*large, "model.gradient_checkpointing=true")
    visiting = {"a": RewardWeights(4096 * MIB, offloaded=True)}
    narrow = Simulation(small_subject(pos_embed_max_size=128), "cpu")
    plan = count_memory(recipe, narrow, visiting)
    assert plan.peak == "decoding"
    (one,) = advise(recipe, narrow, visiting, plan.total("decoding") - 32 * MIB)
    assert one.override == "model.vae_tiling=true"
    found = advice_for(recipe_of(*LORA), 0.5 * peak(recipe_of(*LORA)))
    assert "model.vae_tiling=true" not in overrides(found)


def test_what_never_fits_gets_what_comes_nearest() -> None:
    advice = advice_for(recipe_of(*LORA), MIB, REWARDS)
    assert advice
    assert advice[-1].plan.excess(MIB) > 0


def test_auto_halves_down_to_what_fits() -> None:
    many = ("sampling.resolution=256", "sampling.group_size=24")
    recipe = recipe_of(*many, "training.micro_batch_size=auto")

    def gradients(images: int) -> int:
        changed = recipe_of(*many, f"training.micro_batch_size={images}")
        return plan_of(changed).total("gradients")

    limit = gradients(14)
    size = largest_micro_batch(recipe, wide_simulation(), {}, limit)
    # 48 images, halved.
    assert size == 12
    assert gradients(size) <= limit < gradients(2 * size)
    assert largest_micro_batch(recipe, wide_simulation(), {}, MIB) == 0
