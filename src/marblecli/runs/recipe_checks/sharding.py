"""What sharded weights rule out, whether over processes or in the CPU's memory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress

from marblecli.errors import BadInputError, Problem
from marblecli.methods.host import find_method
from marblecli.runs.recipe_checks.sound import FaultyFieldError
from marblecli.settings import Recipe

_ADAPTERS_STAY = {"shard": "every process holds them", "offload": "the device holds them"}
_NOT_SHARDED = (
    ("model", "compile", True, "compiled blocks can't gather their weights"),
    ("training", "gradients", "backward", "its passes need whole weights' gradients one by one"),
    ("training", "micro_batch_size", "auto", "a batch can't begin again when memory runs out"),
    (
        "training",
        "optimizer",
        "adamw-8bit",
        "it steps whole parameters on the device, which has their rows, or none",
    ),
)
"""Settings and why sharded weights rule them out: table, key, value, reason."""


def check_sharding(recipe: Recipe) -> Iterator[Problem]:
    """One problem for each setting that sharded weights rule out."""
    found = [key for key in _ADAPTERS_STAY if _is_set(recipe, key)]
    if not found:
        return
    with suppress(FaultyFieldError):
        yield from _check_mode(recipe, found)
    setting = f"model.{found[-1]}"
    for name, key, value, reason in _NOT_SHARDED:
        with suppress(FaultyFieldError):
            if getattr(getattr(recipe, name), key) == value:
                message = f"can't be {json.dumps(value)} with {setting}: {reason}"
                yield Problem(f"{name}.{key}", message)
    with suppress(FaultyFieldError):
        yield from _check_methods(recipe, setting)


def _is_set(recipe: Recipe, key: str) -> bool:
    try:
        return bool(getattr(recipe.model, key))
    except FaultyFieldError:
        return False


def _check_mode(recipe: Recipe, found: list[str]) -> Iterator[Problem]:
    if recipe.model.mode != "full":
        for key in found:
            message = f'needs model.mode = "full": adapters are small, and {_ADAPTERS_STAY[key]}'
            yield Problem(f"model.{key}", message)


def _check_methods(recipe: Recipe, setting: str) -> Iterator[Problem]:
    places = [
        (f"balance.phases.{i}", phase.method) for i, phase in enumerate(recipe.balance.phases)
    ]
    for place, name in (*places, ("balance", recipe.balance.method)):
        # An unknown method has been found already.
        with suppress(BadInputError):
            spec = find_method(name)
            if not spec.needs.sharded:
                message = f"can't be {spec.name} with {setting}: the method needs whole weights"
                yield Problem(f"{place}.method", message)
