"""Recipes: TOML to a validated :class:`Recipe`, with every fault reported at once; and back."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import tomli_w
from pydantic import ValidationError

from marblecli.errors import BadInputError, Problem, RecipeError, validation_problems
from marblecli.runs import schema
from marblecli.runs.overrides import apply_override
from marblecli.runs.recipe_checks.every import find_problems
from marblecli.runs.recipe_checks.model_folder import is_missing
from marblecli.runs.recipe_checks.sound import FaultyFieldError, sound_part, sound_settings
from marblecli.runs.recipe_paths import resolve_paths
from marblecli.runs.renamed_keys import use_new_keys
from marblecli.settings import ModelSettings, Recipe

CheckReward = Callable[[str, Mapping[str, Any]], list[Problem]]
"""(reward name, its options) -> what is wrong with them; given by the plugin host."""
CheckModel = Callable[[ModelSettings, int | None], list[Problem]]
"""(``[model]``, the images' side in pixels) -> what is wrong with them, as the model says. The side
is None where it is faulty by itself."""

_HINTS = {
    "sampling.group_size": "an image's advantage is relative to the other images of its prompt",
    "run.name": "use letters, digits, '.', '_' and '-'",
    "prompts": "add a table [prompts.SOURCE] with train = FILE",
    "rewards": "add a table [rewards.NAME]; `marble rewards list` shows the names",
}
"""What helps beyond pydantic's finding, by dotted key."""


def load_recipe(
    path: Path,
    overrides: Sequence[str],
    check_reward: CheckReward,
    check_model: CheckModel | None = None,
    tell: Callable[[str], None] | None = None,
) -> Recipe:
    """Read a recipe, apply ``key=value`` overrides and resolve its paths to absolute ones.

    Paths are relative to the recipe's folder, those of overrides too. ``check_model`` isn't asked
    about a model whose folder is missing. Old names of keys are read as the new ones; ``tell`` is
    called with a line about each old name.

    Raises:
        BadInputError: there is no such file, it isn't TOML, or a newer version wrote it.
        RecipeError: the recipe can't be used; every fault is named by its dotted key.

    """
    table, notices, problems = with_overrides(read_table(path), overrides)
    if tell is not None:
        for notice in notices:
            tell(notice)
    schema.check_schema(table.pop(schema.KEY, None), path)
    resolve_paths(table, path.absolute().parent)
    recipe, faults = _validate(table)
    readable = sound_part(table) if recipe is None else recipe
    problems += [*faults, *find_problems(readable), *_check_rewards(readable, check_reward)]
    if check_model is not None:
        problems += _check_model(table.get("model"), readable, check_model)
    if recipe is None or problems:
        raise RecipeError(str(path), problems)
    return recipe


def with_overrides(
    table: dict[str, Any], overrides: Sequence[str]
) -> tuple[dict[str, Any], list[str], list[Problem]]:
    """The table with the overrides and new names of keys; notices, each once; and problems."""
    notices, problems = use_new_keys(table, replace=False)
    for text in overrides:
        problems += apply_override(table, text)
        # An override replaces the file's value, whichever of its two names each of them uses.
        notices += use_new_keys(table, replace=True)[0]
    return table, list(dict.fromkeys(notices)), problems


def dump_recipe(recipe: Recipe) -> str:
    """The recipe as TOML with every default written out; loading it gives an equal recipe."""
    return tomli_w.dumps(schema.stamped(recipe_table(recipe)))


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the tables of its TOML file; keys without a value are left out."""
    table: dict[str, Any] = _plain(recipe.model_dump())
    balance = table["balance"]
    rewards = (*table["rewards"].values(), *table["eval"]["rewards"].values())
    open_tables = (table["model"], *rewards, balance, *balance["phases"])
    for with_options in open_tables:
        with_options.update(with_options.pop("options", {}))
    return table


def read_table(path: Path) -> dict[str, Any]:
    """The file as TOML has it. Raises BadInputError if it can't be read or isn't TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"{path}: can't read the recipe: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"{path}: isn't valid TOML: {error}") from error


def _plain(value: Any) -> Any:
    """What TOML can hold: tables without None, paths as text."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items() if item is not None}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _validate(table: Mapping[str, Any]) -> tuple[Recipe | None, list[Problem]]:
    try:
        return Recipe.model_validate(table), []
    except ValidationError as error:
        return None, [_with_hint(fault) for fault in validation_problems(error, Recipe)]


def _with_hint(problem: Problem) -> Problem:
    hint = _HINTS.get(problem.key)
    return Problem(problem.key, f"{problem.message}: {hint}") if hint else problem


def _check_rewards(recipe: Recipe, check_reward: CheckReward) -> Iterator[Problem]:
    """What the plugins say of their options; a reward whose table is no table has none."""
    with suppress(FaultyFieldError):
        for name, reward in recipe.rewards.items():
            with suppress(FaultyFieldError):
                yield from check_reward(name, reward.options)
    with suppress(FaultyFieldError):
        for name, judge in recipe.eval.rewards.items():
            for problem in check_reward(name, judge.options):
                yield Problem(f"eval.{problem.key}", problem.message)


def _check_model(table: Any, recipe: Recipe, check_model: CheckModel) -> list[Problem]:
    """What the model says of ``[model]``, as far as it is sound, and of the images' side."""
    model = sound_settings(ModelSettings, table)
    if model is None or is_missing(model.pretrained):
        return []
    resolution = None
    with suppress(FaultyFieldError):
        resolution = recipe.sampling.resolution
    return check_model(model, resolution)
