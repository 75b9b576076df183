"""TOML -> Recipe: every fault at once, before any weight loads; and back to TOML."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
from marblecli.runs.prompts import PROMPT_SUFFIXES
from marblecli.settings import (
    ModelSettings,
    Recipe,
    RewardSettings,
    SamplingSettings,
    TrainingSettings,
)

CheckReward = Callable[[str, Mapping[str, Any]], list[Problem]]
"""(reward name, its options) -> what is wrong with them; given by the plugin host."""
CheckModel = Callable[[ModelSettings, int | None], list[Problem]]
"""(``[model]``, the images' side in pixels) -> what is wrong with them, as the model says."""

Table = dict[str, Any]
_Settings = TypeVar("_Settings", ModelSettings, SamplingSettings)

_HINTS = {
    "sampling.group_size": "an image's advantage is relative to the other images of its prompt",
    "run.name": "use letters, digits, '.', '_' and '-'",
    "prompts": "add a table [prompts.SOURCE] with train = FILE",
    "rewards": "add a table [rewards.NAME]; `marble rewards list` shows the names",
}
"""What helps beyond pydantic's finding, by dotted key."""

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def load_recipe(
    path: Path,
    overrides: Sequence[str],
    check_reward: CheckReward,
    check_model: CheckModel | None = None,
) -> Recipe:
    """Read a recipe, apply ``key=value`` overrides and resolve its paths to absolute ones.

    Paths, also those of overrides, are relative to the recipe's folder. Without ``check_model``
    nothing is said of the model but whether its folder exists.
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
    for name, reward in _tables(table, "rewards"):
        problems += check_reward(name, _options(reward))
    if check_model is not None:
        problems += _model_problems(table, check_model)
    if recipe is None or problems:
        raise RecipeError(str(path), problems)
    return recipe


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML with every default written out; loading it gives an equal recipe."""
    return tomli_w.dumps(recipe_table(recipe))


def recipe_table(recipe: Recipe) -> Table:
    """The recipe as the tables of its TOML file; keys without a value are left out."""
    table: Table = _plain(recipe.model_dump())
    for with_options in (table["model"], *table["rewards"].values()):
        with_options.update(with_options.pop("options"))
    return table


def _plain(value: Any) -> Any:
    """What TOML can hold: tables without None, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
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


def _check_folder(table: Table) -> Iterator[Problem]:
    if folder := _missing_folder(table):
        message = f"no such folder, and no hub id (OWNER/NAME): {folder}"
        yield Problem("model.pretrained", message)


def _missing_folder(table: Table) -> str | None:
    """The model, if it is a path at which there is no folder."""
    value = _get(table, "model", "pretrained", None)
    local = isinstance(value, str) and Path(value).is_absolute()
    return value if local and not Path(value).is_dir() else None


def _model_problems(table: Table, check_model: CheckModel) -> list[Problem]:
    """What the model says of the recipe, as far as its tables can be used."""
    model = _as_far_as_valid(ModelSettings, table.get("model"))
    if model is None or _missing_folder(table):
        return []
    sampling = _as_far_as_valid(SamplingSettings, table.get("sampling", {}))
    side = None if sampling is None else sampling.resolution
    # A side that is wrong by itself isn't checked again, nor the default in its place.
    asked = _get(table, "sampling", "resolution", side)
    return check_model(model, side if asked == side else None)


def _as_far_as_valid(kind: type[_Settings], table: Any) -> _Settings | None:
    """The settings without those keys that are faulty; None if they can't do without them."""
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        if not isinstance(table, dict):
            return None
        faulty = {fault["loc"][0] for fault in error.errors(include_url=False) if fault["loc"]}
        rest = {key: value for key, value in table.items() if key not in faulty}
        return _as_far_as_valid(kind, rest) if len(rest) < len(table) else None


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
    phases = _get(table, "balance", "phases", [])
    methods = [phase.get("method") for phase in phases if isinstance(phase, dict)]
    if "marble-published" in [_get(table, "balance", "method", "marble"), *methods]:
        message = f"can't be marble-published with {setting}: one micro-batch can't be divided"
        yield Problem("balance.method", message)


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
    _check_folder,
    _check_sources,
    _check_noise_levels,
    _check_gradients,
    _check_sharding,
)
