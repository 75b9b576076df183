from __future__ import annotations

import tomllib
from typing import Any

import pytest

from marblecli.models.architectures import shipped_architecture
from marblecli.planning.advice import advise, largest_micro_batch
from marblecli.planning.memory import GIB, RewardWeights, count_memory
from marblecli.settings import Recipe

MEDIUM = "stabilityai/stable-diffusion-3.5-medium"
ARCHITECTURE = shipped_architecture(MEDIUM)
REWARDS = {"a": RewardWeights(3 * GIB), "b": RewardWeights(None)}


def recipe_of(*overrides: str) -> Recipe:
    """The published geometry with two rewards."""
    table: dict[str, Any] = {
        "model": {"pretrained": MEDIUM},
        "prompts": {"scenes": {"train": "x.txt"}},
        "rewards": {"a": {}, "b": {}},
        "training": {"steps": 1},
        "measure": {},
        "sampling": {},
    }
    for override in overrides:
        key, value = override.split("=")
        *home, name = key.split(".")
        place = table
        for part in home:
            place = place[part]
        try:
            place[name] = tomllib.loads(f"value = {value}")["value"]
        except tomllib.TOMLDecodeError:
            place[name] = value
    return Recipe.model_validate(table)


def offloaded(recipe: Recipe) -> dict[str, RewardWeights]:
    return {
        name: RewardWeights(weights.bytes, recipe.rewards[name].device == "offload")
        for name, weights in REWARDS.items()
    }


def test_a_recipe_that_fits_needs_nothing() -> None:
    assert advise(recipe_of(), ARCHITECTURE, REWARDS, 80 * GIB) == []


@pytest.mark.parametrize(
    ("overrides", "gib"),
    [
        ((), 24),
        ((), 16),
        ((), 12),
        (("model.mode=full",), 141),
        (("model.mode=full",), 80),
        (("measure.fresh_every=5", "model.dtype=fp32"), 24),
    ],
)
def test_the_advice_taken_as_overrides_makes_the_recipe_fit(
    overrides: tuple[str, ...], gib: int
) -> None:
    limit = gib * GIB
    advice = advise(recipe_of(*overrides), ARCHITECTURE, REWARDS, limit)
    assert advice
    changed = recipe_of(*overrides, *(one.override for one in advice))
    plan = count_memory(changed, ARCHITECTURE, offloaded(changed))
    assert plan == advice[-1].plan
    assert plan.excess(limit) == 0


def test_each_change_helps_and_the_first_helps_most() -> None:
    limit = 12 * GIB
    before = count_memory(recipe_of(), ARCHITECTURE, REWARDS).excess(limit)
    gains = []
    for one in advise(recipe_of(), ARCHITECTURE, REWARDS, limit):
        gains.append(before - one.plan.excess(limit))
        before = one.plan.excess(limit)
    assert min(gains) > 0
    assert gains[0] == max(gains)


def test_checkpointing_comes_before_what_changes_training() -> None:
    (one,) = advise(recipe_of(), ARCHITECTURE, {}, 24 * GIB)
    assert one.override == "model.gradient_checkpointing=true"


def test_adapters_instead_of_all_weights_only_where_nothing_else_is_enough() -> None:
    full = recipe_of("model.mode=full", "measure.parts=false", "measure.slices_every=0")
    offloaded = advise(full, ARCHITECTURE, {}, 24 * GIB)
    assert offloaded[0].override == "model.offload=true"
    assert not offloaded[-1].plan.excess(24 * GIB)
    # Which then don't fit either.
    assert advise(full, ARCHITECTURE, {}, 3 * GIB)[0].override == "model.mode=lora"
    whole = recipe_of("model.mode=full")
    overrides = [one.override for one in advise(whole, ARCHITECTURE, {}, 120 * GIB)]
    assert "model.offload=true" not in overrides
    assert "measure.parts=false" in overrides


def test_advice_for_divided_weights_can_be_taken() -> None:
    full = recipe_of("model.mode=full", "model.shard=true")
    overrides = [one.override for one in advise(full, ARCHITECTURE, {}, 60 * GIB, 2)]
    assert "training.optimizer=adamw-8bit" not in overrides
    fewer = count_memory(full, ARCHITECTURE, {}, 4).excess(60 * GIB)
    assert fewer < count_memory(full, ARCHITECTURE, {}, 2).excess(60 * GIB)
    first = advise(full, ARCHITECTURE, {}, 16 * GIB, 2)[0]
    assert first.override == "model.offload=true"
    first = advise(full, ARCHITECTURE, {}, 3 * GIB, 2)[0]
    assert first.override == "model.mode=lora --set model.shard=false"


def test_what_offloading_asks_for_is_advised_with_it() -> None:
    wrong = ("model.compile=true", "training.optimizer=adamw-8bit")
    auto = "training.micro_batch_size=auto"
    full = recipe_of("model.mode=full", *wrong, auto)
    first = advise(full, ARCHITECTURE, {}, 24 * GIB)[0]
    assert first.override.split(" --set ") == [
        "model.offload=true",
        "model.compile=false",
        "training.optimizer=adamw",
        "training.micro_batch_size=8",
    ]
    backward = recipe_of("model.mode=full", "training.gradients=backward")
    assert advise(backward, ARCHITECTURE, {}, 24 * GIB)[0].override == "model.mode=lora"


def test_tiles_are_advised_only_where_decoding_is_what_doesnt_fit() -> None:
    recipe = recipe_of(
        "sampling.resolution=1024", "sampling.batch_size=1", "training.micro_batch_size=1"
    )
    visiting = {"a": RewardWeights(24 * GIB, offloaded=True)}
    plan = count_memory(recipe, ARCHITECTURE, visiting)
    assert plan.peak == "decoding"
    (one,) = advise(recipe, ARCHITECTURE, visiting, plan.total("decoding") - GIB)
    assert one.override == "model.vae_tiling=true"
    for gib in (24, 16):
        advice = advise(recipe_of(), ARCHITECTURE, {}, gib * GIB)
        assert "model.vae_tiling=true" not in [one.override for one in advice]


def test_what_never_fits_gets_what_comes_nearest() -> None:
    limit = 4 * GIB
    advice = advise(recipe_of(), ARCHITECTURE, REWARDS, limit)
    assert advice
    assert advice[-1].plan.excess(limit) > 0


def test_auto_halves_down_to_what_fits() -> None:
    recipe = recipe_of("training.micro_batch_size=auto")
    size = largest_micro_batch(recipe, ARCHITECTURE, {}, 24 * GIB)

    def gradients(images: int) -> int:
        changed = recipe_of(f"training.micro_batch_size={images}")
        return count_memory(changed, ARCHITECTURE, {}).total("gradients")

    assert gradients(size) <= 24 * GIB < gradients(2 * size)
    # 1152 images, halved.
    assert size in {1152 >> halvings for halvings in range(11)}
    assert largest_micro_batch(recipe, ARCHITECTURE, {}, GIB) == 0
