"""TOML -> Recipe: every fault at once, before any weight loads; and back to TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from marblecli.errors import (
    BadInputError,
    Problem,
    RecipeError,
    did_you_mean,
    one_of,
    validation_problems,
)
from marblecli.methods.checks import balance_problems
from marblecli.methods.host import find_method
from marblecli.runs.prompts import PROMPT_SUFFIXES
from marblecli.settings import (
    BalanceSettings,
    Recipe,
    RewardSettings,
    SamplingSettings,
    TrainingSettings,
)

CheckReward = Callable[[str, Mapping[str, Any]], list[Problem]]
"""(reward name, its options) -> what is wrong with them; given by the plugin host."""

Table = dict[str, Any]

_HINTS = {
    "sampling.group_size": "an image's advantage is relative to the other images of its prompt",
    "run.name": "use letters, digits, '.', '_' and '-'",
    "prompts": "add a table [prompts.SOURCE] with train = FILE",
    "rewards": "add a table [rewards.NAME]; `marble rewards list` shows the names",
}
"""What helps beyond pydantic's finding, by dotted key."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_recipe(path: Path, overrides: Sequence[str], check_reward: CheckReward) -> Recipe:
    """Read a recipe, apply ``key=value`` overrides and resolve its paths to absolute ones.

    Paths, also those of overrides, are relative to the recipe's folder.
    Raises BadInputError if there is no such file or it isn't TOML, and RecipeError, which names
    every fault by its dotted key, if the recipe can't be used.
    """
    table = _read_toml(path)
    problems = [fault for text in overrides for fault in _apply_override(table, text)]
    _resolve_paths(table, path.absolute().parent)
    recipe, faults = _validate(table)
    problems += faults
    for check in _CHECKS:
        problems += check(table)
    problems += _check_balance(table)
    for name, reward in _tables(table, "rewards"):
        problems += check_reward(name, _options(reward))
    if recipe is None or problems:
        raise RecipeError(str(path), problems)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML with every default written out; loading it gives an equal recipe."""
    table = _plain(recipe.model_dump())
    balance = table["balance"]
    for open_table in (*table["rewards"].values(), balance, *balance["phases"]):
        open_table.update(open_table.pop("options"))
    return tomli_w.dumps(table)


def _plain(value: Any) -> Any:
    """What TOML can hold: tables without None, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _read_toml(path: Path) -> Table:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: can't read the recipe: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: isn't valid TOML: {error}") from error


def _apply_override(table: Table, text: str) -> list[Problem]:
    """Set one ``key=value`` in ``table``, making the tables on its way."""
    key, equals, value = text.partition("=")
    try:
        parsed: Any = tomllib.loads(f"{key} = 0") if equals else {}
    except tomllib.TOMLDecodeError:
        parsed = {}
    if not parsed:
        return [Problem(f"--set {text}", "expected KEY=VALUE with a dotted key")]
    parts = list(_chain_of_keys(parsed))
    for depth, part in enumerate(parts[:-1], start=1):
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            return [Problem(f"--set {text}", f"{'.'.join(parts[:depth])} is no table")]
    table[parts[-1]] = _parse_value(value.strip())
    return []


def _chain_of_keys(parsed: Any) -> Iterator[str]:
    while isinstance(parsed, dict):
        (key,) = parsed
        yield key
        parsed = parsed[key]


def _parse_value(text: str) -> Any:
    """A TOML value, or else plain text, so that words and paths need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _resolve_paths(table: Table, folder: Path) -> None:
    for _, source in _tables(table, "prompts"):
        for name in ("train", "eval"):
            if isinstance(source.get(name), str):
                source[name] = str((folder / Path(source[name]).expanduser()).resolve())
    model = table.get("model")
    if isinstance(model, dict) and isinstance(model.get("pretrained"), str):
        model["pretrained"] = _resolve_model(model["pretrained"], folder)
    if isinstance(model, dict) and isinstance(model.get("embedding_cache"), str):
        path = folder / Path(model["embedding_cache"]).expanduser()
        model["embedding_cache"] = str(path.resolve())


def _resolve_model(value: str, folder: Path) -> str:
    """An absolute path where ``value`` is one or looks like one, else the hub id as it is."""
    path = folder / Path(value).expanduser()
    looks_like_path = value[:1] in {"", ".", "/", "~"} or not _HUB_ID.fullmatch(value)
    return str(path.resolve()) if looks_like_path or path.parent.is_dir() else value


def _validate(table: Table) -> tuple[Recipe | None, list[Problem]]:
    try:
        return Recipe.model_validate(table), []
    except ValidationError as error:
        return None, [_with_hint(fault) for fault in validation_problems(error, Recipe)]


def _with_hint(problem: Problem) -> Problem:
    hint = _HINTS.get(problem.key)
    return Problem(problem.key, f"{problem.message}: {hint}") if hint else problem


# The checks below read the raw tables, so that they speak up even where pydantic refused others.


def _tables(table: Table, name: str) -> list[tuple[str, Table]]:
    tables = table.get(name)
    if not isinstance(tables, dict):
        return []
    return [(key, value) for key, value in tables.items() if isinstance(value, dict)]


def _options(reward: Table) -> Table:
    ours = RewardSettings.model_fields.keys() - {"options"}
    return {key: value for key, value in reward.items() if key not in ours}


def _check_files(table: Table) -> Iterator[Problem]:
    for source, settings in _tables(table, "prompts"):
        for name in ("train", "eval"):
            value = settings.get(name)
            if not isinstance(value, str):
                continue
            if not Path(value).is_file():
                yield Problem(f"prompts.{source}.{name}", f"no such file: {value}")
            elif Path(value).suffix not in PROMPT_SUFFIXES:
                choices = " or ".join(PROMPT_SUFFIXES)
                yield Problem(f"prompts.{source}.{name}", f"must be {choices}: {value}")


def _check_model(table: Table) -> Iterator[Problem]:
    model = table.get("model")
    value = model.get("pretrained") if isinstance(model, dict) else None
    if not isinstance(value, str) or not Path(value).is_absolute():
        return
    message = _folder_fault(Path(value))
    if message:
        yield Problem("model.pretrained", message)


_PARTS = {
    "model_index.json": "StableDiffusion3Pipeline",
    "transformer/config.json": "SD3Transformer2DModel",
}
"""Files of a folder in diffusers' layout, and the class that each must name."""


def _folder_fault(folder: Path) -> str:
    if not folder.is_dir():
        return f"no such folder, and no hub id (OWNER/NAME): {folder}"
    for name, wanted in _PARTS.items():
        try:
            config = json.loads((folder / name).read_text(encoding="utf-8"))
            found = config["_class_name"]
        except (OSError, ValueError, KeyError, TypeError):
            return f"no model in diffusers' layout: {folder} has no readable {name}"
        if found != wanted:
            return f"no Stable Diffusion 3: {folder / name} names {found}, not {wanted}"
    return ""


def _check_sources(table: Table) -> Iterator[Problem]:
    prompts = table.get("prompts")
    choices = list(prompts) if isinstance(prompts, dict) else []
    for name, reward in _tables(table, "rewards"):
        sources = reward.get("sources")
        for source in sources if isinstance(sources, list) else []:
            if isinstance(source, str) and source not in choices:
                hint = did_you_mean(source, choices) or f"; choose from {one_of(choices)}"
                yield Problem(f"rewards.{name}.sources", f"no prompt source {source!r}{hint}")


def _check_noise_levels(table: Table) -> Iterator[Problem]:
    defaults = TrainingSettings.model_fields["noise_levels"], SamplingSettings.model_fields["steps"]
    levels = _get(table, "training", "noise_levels", defaults[0].default)
    steps = _get(table, "sampling", "steps", defaults[1].default)
    if isinstance(levels, int) and isinstance(steps, int) and levels > steps:
        message = f"must be at most sampling.steps = {steps}, got {levels}: levels are drawn from "
        yield Problem("training.noise_levels", message + "the sampler's grid")


def _check_gradients(table: Table) -> Iterator[Problem]:
    """What needs the gradients in parts, or all of them by two backward passes."""
    parts = _get(table, "measure", "parts", True)
    contracted = _get(table, "training", "gradients", "contracted") == "contracted"
    if _get(table, "balance", "gram", "whole") == "signal" and not (parts and contracted):
        need = "measure.parts = true" if contracted else 'training.gradients = "contracted"'
        yield Problem("balance.gram", f'"signal" needs {need}')
    fresh = _get(table, "measure", "fresh_every", 0)
    if fresh and not parts:
        yield Problem("measure.fresh_every", "needs measure.parts = true; or set it to 0")
    lora = _get(table, "model", "lora", {})
    if not (isinstance(lora, dict) and lora.get("dora")):
        return
    if contracted:
        message = 'needs training.gradients = "backward": two passes leave its magnitudes out'
        yield Problem("model.lora.dora", message)
    if fresh:
        message = "must be 0 with model.lora.dora: new images are measured by two backward passes"
        yield Problem("measure.fresh_every", message)


def _check_balance(table: Table) -> list[Problem]:
    """The methods, their own options, and the rewards that these name."""
    try:
        settings = BalanceSettings.model_validate(table.get("balance", {}))
    except ValidationError:
        return []  # Its faults have been found.
    rewards = table.get("rewards")
    names = list(rewards) if isinstance(rewards, dict) else None
    return balance_problems(settings, names)


def _check_sharding(table: Table) -> Iterator[Problem]:
    """What can't be divided among processes, or wait in the CPU's memory."""
    found = [key for key in ("shard", "offload") if _get(table, "model", key, False) is True]
    if not found:
        return
    if _get(table, "model", "mode", "lora") != "full":
        for key in found:
            message = f'needs model.mode = "full": adapters are small, and {_ADAPTERS_STAY[key]}'
            yield Problem(f"model.{key}", message)
    setting = f"model.{found[-1]}"
    for name, key, value, reason in _UNDIVIDED:
        if _get(table, name, key, None) == value:
            yield Problem(f"{name}.{key}", f"can't be {json.dumps(value)} with {setting}: {reason}")
    for key, name in _methods(table):
        if not find_method(name).needs.sharded:
            message = f"can't be {name} with {setting}: the method needs whole weights"
            yield Problem(key, message)


def _methods(table: Table) -> Iterator[tuple[str, str]]:
    """The known methods of ``[balance]``, by dotted key."""
    try:
        settings = BalanceSettings.model_validate(table.get("balance", {}))
    except ValidationError:
        return
    phases = [(f"balance.phases.{i}.method", one.method) for i, one in enumerate(settings.phases)]
    for key, name in (*phases, ("balance.method", settings.method)):
        with suppress(BadInputError):
            yield key, find_method(name).name


_ADAPTERS_STAY = {"shard": "every process holds them", "offload": "the device holds them"}
_UNDIVIDED = (
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
"""Settings and why weights that are divided rule them out."""


def _get(table: Table, name: str, key: str, default: Any) -> Any:
    settings = table.get(name)
    return settings.get(key, default) if isinstance(settings, dict) else default


_CHECKS = (
    _check_files,
    _check_model,
    _check_sources,
    _check_noise_levels,
    _check_gradients,
    _check_sharding,
)
