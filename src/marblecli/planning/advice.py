"""What to change in a recipe that doesn't fit the device, the most effective first."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from marblecli.methods.host import find_method
from marblecli.planning.memory import count_memory
from marblecli.planning.plan import MemoryPlan, Phase, RewardWeights, images_of_a_step
from marblecli.planning.simulation import Simulation
from marblecli.settings import OWN_MODEL_KEYS, Recipe

_Settings = tuple[Recipe, Mapping[str, RewardWeights]]
_Count = Callable[[_Settings], MemoryPlan]
_Overrides = Mapping[str, Any]
"""Values by dotted key."""
_MICRO_BATCH = 8
"""Images to start from where ``auto`` can't be had."""


@dataclass(frozen=True)
class Advice:
    """One change of a recipe, and the plan with it and with those before it."""

    override: str
    """As ``--set`` takes it."""
    plan: MemoryPlan


def advise(
    recipe: Recipe,
    simulation: Simulation,
    rewards: Mapping[str, RewardWeights],
    limit: int,
    processes: int = 1,
) -> list[Advice]:
    """Changes that take the plan to ``limit`` bytes or, if nothing does, as near as they go.

    Each is the one that helps most after those before it. Offloading all weights is advised only
    where the other changes aren't enough, and adapters instead of all weights only where offloading
    isn't enough either. ``processes`` is as in :func:`count_memory`.
    """

    def count(settings: _Settings) -> MemoryPlan:
        return count_memory(settings[0], simulation, settings[1], processes)

    search = _Search(count, limit, simulation.subject.family.spec.savings)
    found = search.most_effective((recipe, rewards))
    if recipe.model.mode == "lora":
        return found
    for together in (_offloaded(recipe), _adapters(recipe)):
        fits = not (found[-1].plan if found else count((recipe, rewards))).excess(limit)
        if fits or not together:
            continue
        changed = (_all_set(recipe, together), rewards)
        override = " --set ".join(_shown(key, value) for key, value in together.items())
        first = Advice(override, count(changed))
        found = [first, *search.most_effective(changed)]
    return found


def _offloaded(recipe: Recipe) -> _Overrides:
    """Offloading, with the other settings that it needs; nothing where it can't be had."""
    training, balance = recipe.training, recipe.balance
    methods = (balance.method, *(each.method for each in balance.phases))
    possible = all(find_method(name).needs.sharded for name in methods)
    if recipe.model.offload or not possible or training.gradients != "contracted":
        return {}
    asked = {
        "model.compile": (recipe.model.compile, False),
        "training.optimizer": (training.optimizer == "adamw-8bit", "adamw"),
        "training.micro_batch_size": (training.micro_batch_size == "auto", _MICRO_BATCH),
    }
    return {"model.offload": True} | {key: new for key, (wrong, new) in asked.items() if wrong}


def _adapters(recipe: Recipe) -> _Overrides:
    """Adapters, which can't be sharded or offloaded."""
    whole = {"model.shard": recipe.model.shard, "model.offload": recipe.model.offload}
    return {"model.mode": "lora"} | {key: False for key, is_set in whole.items() if is_set}


def largest_micro_batch(
    recipe: Recipe,
    simulation: Simulation,
    rewards: Mapping[str, RewardWeights],
    limit: int,
    processes: int = 1,
) -> int:
    """The size that ``micro_batch_size = "auto"`` halves down to; 0 if one image doesn't fit."""
    size = images_of_a_step(recipe)
    while size:
        changed = _set(recipe, "training", micro_batch_size=size)
        if count_memory(changed, simulation, rewards, processes).total("gradients") <= limit:
            return size
        size //= 2
    return 0


@dataclass(frozen=True)
class _Search:
    """A search for the changes that make a recipe fit ``limit`` bytes."""

    count: _Count
    limit: int
    savings: tuple[tuple[str, object], ...]
    """The model family's own options that take less memory."""

    def most_effective(self, settings: _Settings) -> list[Advice]:
        found: list[Advice] = []
        while excess := self.count(settings).excess(self.limit):
            tried = [(*one, self.count(one[1])) for one in self._changes(settings)]
            # Of equals the first: the changes stand in the order of how little they change
            # training.
            best = min(tried, key=lambda one: one[2].excess(self.limit))
            if best[2].excess(self.limit) >= excess:
                break
            found.append(Advice(best[0], best[2]))
            settings = best[1]
        return found

    def _changes(self, settings: _Settings) -> Iterator[tuple[str, _Settings]]:
        recipe, rewards = settings
        checkpointed = _set(recipe, "model", gradient_checkpointing=True)
        yield "model.gradient_checkpointing=true", (checkpointed, rewards)
        yield from self._smaller(settings)
        for key, value in (
            ("measure.slices_every", 0),
            ("measure.parts", False),
            ("measure.fresh_every", 0),
            ("training.ema_on_cpu", True),
            ("training.optimizer", "adamw-8bit"),
            *((f"model.{option}", value) for option, value in self.savings),
            ("model.vae_tiling", True),
            ("model.dtype", "bf16"),
        ):
            if value == "adamw-8bit" and recipe.model.sharded:
                continue  # Its state can be neither sharded nor offloaded.
            yield _shown(key, value), (_all_set(recipe, {key: value}), rewards)
        for reward, weights in rewards.items():
            if weights.bytes and not weights.offloaded:
                moved = {**rewards, reward: replace(weights, offloaded=True)}
                yield f"rewards.{reward}.device=offload", (recipe, moved)

    def _smaller(self, settings: _Settings) -> Iterator[tuple[str, _Settings]]:
        """Fewer images at a time: the most that fit, or one."""
        recipe, rewards = settings
        micro_batch = _number(recipe.training.micro_batch_size)
        steps: tuple[tuple[str, str, Phase, int], ...] = (
            ("training", "micro_batch_size", "gradients", micro_batch),
            ("sampling", "batch_size", "sampling", recipe.sampling.batch_size),
        )
        for table, name, phase, now in steps:
            for size in _halvings(now):
                changed = (_set(recipe, table, **{name: size}), rewards)
                if size == 1 or self.count(changed).total(phase) <= self.limit:
                    yield f"{table}.{name}={size}", changed
                    break


def _halvings(size: int) -> Iterator[int]:
    while size > 1:
        size //= 2
        yield size


def _number(size: int | str) -> int:
    """``auto`` is counted as one image, and one can't be made smaller."""
    return size if isinstance(size, int) else 1


def _set(recipe: Recipe, table: str, **values: Any) -> Recipe:
    settings = getattr(recipe, table)
    if table == "model" and not values.keys() <= OWN_MODEL_KEYS:
        changed = settings.with_options(**values)
    else:
        changed = settings.model_copy(update=values)
    return recipe.model_copy(update={table: changed})


def _all_set(recipe: Recipe, overrides: _Overrides) -> Recipe:
    for key, value in overrides.items():
        table, name = key.split(".")
        recipe = _set(recipe, table, **{name: value})
    return recipe


def _shown(key: str, value: Any) -> str:
    """As ``--set`` takes it on the command line."""
    return f"{key}={str(value).lower() if isinstance(value, bool) else value}"
