"""What a recipe and an environment say, as facts; and where recipes differ."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from marblecli.report.tables import Cell, Column, Table
from marblecli.types import Json


def recipe_facts(recipe: Mapping[str, Json]) -> dict[str, str]:
    """The few values of a recipe that a reader looks for first; those it has."""
    model, sampling = recipe.get("model", {}), recipe.get("sampling", {})
    training, balance = recipe.get("training", {}), recipe.get("balance", {})
    images = _product(sampling.get("prompts_per_step"), sampling.get("group_size"))
    size = sampling.get("resolution")
    lora = model.get("lora", {}) if model.get("mode", "lora") == "lora" else {}
    adapters = f", rank {lora['rank']}, alpha {lora['alpha']:g}" if "rank" in lora else ""
    found = {
        "model": _last_part(model.get("pretrained")),
        "mode": f"{model.get('mode', 'lora')}{adapters}" if model else None,
        "method": balance.get("method"),
        "rewards": ", ".join(recipe.get("rewards", {})) or None,
        "optimizer steps": training.get("steps"),
        "learning rate": training.get("learning_rate"),
        "images a step": None
        if images is None
        else f"{images} ({sampling['prompts_per_step']} prompts x {sampling['group_size']})",
        "resolution": None if size is None else f"{size} x {size} pixels",
        "seed": recipe.get("run", {}).get("seed"),
    }
    return {name: str(value) for name, value in found.items() if value is not None}


def environment_facts(environment: Mapping[str, Json]) -> dict[str, str]:
    """The environment, one fact each: the machine first, then every package."""
    packages = environment.get("packages", {})
    others = {
        name: str(value) for name, value in environment.items() if not isinstance(value, Mapping)
    }
    return {**others, **{name: str(version or "unknown") for name, version in packages.items()}}


def differences_table(titles: Sequence[str], recipes: Sequence[Mapping[str, Json]]) -> Table:
    """Every key at which not all of the recipes have the same value."""
    flat = [_flat(recipe, "") for recipe in recipes]
    keys = dict.fromkeys(key for each in flat for key in each)
    rows: list[tuple[Cell, ...]] = [
        (key, *(each.get(key) for each in flat))
        for key in keys
        if len({each.get(key) for each in flat}) > 1
    ]
    return Table(
        title="Where their recipes differ",
        columns=(Column("key", "text"), *(Column(title, "text") for title in titles)),
        rows=tuple(rows),
        explanation="Every other key of the recipes has the same value in all runs.",
    )


def _flat(value: Json, prefix: str) -> dict[str, str]:
    if isinstance(value, Mapping) and value:
        return {
            key: text
            for name, item in value.items()
            for key, text in _flat(item, f"{prefix}.{name}".lstrip(".")).items()
        }
    if prefix == "schema" or value == {}:
        return {}
    return {prefix: value if isinstance(value, str) else json.dumps(value, default=str)}


def _product(one: Json, two: Json) -> int | None:
    return one * two if isinstance(one, int) and isinstance(two, int) else None


def _last_part(path: Json) -> str | None:
    """The name of a model: a folder's last part, or a repository of the hub."""
    if not isinstance(path, str):
        return None
    return PurePath(path).name if PurePath(path).is_absolute() else path
