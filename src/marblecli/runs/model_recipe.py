"""The part of a recipe that sampling needs: the model and its geometry.

Prompts, rewards and the balance aren't read, so that a run can be sampled and exported where its
prompt files and reward plugins aren't.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from marblecli.errors import Problem, RecipeError, validation_problems
from marblecli.runs import schema
from marblecli.runs.recipe import CheckModel, read_table, with_overrides
from marblecli.runs.recipe_checks.model_folder import is_missing
from marblecli.runs.recipe_paths import resolve_paths
from marblecli.settings import ModelSettings, Recipe
from marblecli.settings.recipe import EvalSettings, RunSettings
from marblecli.settings.table import Table
from marblecli.settings.training import SamplingSettings, TrainingSettings


class _ModelPart(Table):
    run: RunSettings = RunSettings()
    model: ModelSettings
    sampling: SamplingSettings = SamplingSettings()
    training: TrainingSettings = TrainingSettings(steps=1)
    eval: EvalSettings = EvalSettings()


def read_model_recipe(path: Path, overrides: Sequence[str], check_model: CheckModel) -> Recipe:
    """The recipe of a file without its prompts, rewards and balance, which are empty or defaults.

    Raises:
        RecipeError: all faults of the rest at once.
        BadInputError: the file can't be read.

    """
    table = read_table(path)
    schema.check_schema(table.pop(schema.KEY, None), path)
    return _read(table, overrides, check_model, path)


def model_recipe(pretrained: str, overrides: Sequence[str], check_model: CheckModel) -> Recipe:
    """The recipe of a model alone: a hub id, or a folder relative to the working directory."""
    table: dict[str, Any] = {"model": {"pretrained": pretrained}}
    return _read(table, overrides, check_model, Path(pretrained))


def _read(
    table: dict[str, Any], overrides: Sequence[str], check_model: CheckModel, place: Path
) -> Recipe:
    table, _, problems = with_overrides(table, overrides)
    folder = place.absolute().parent if place.is_file() else Path.cwd()
    resolve_paths(table, folder)
    kept = {name: table[name] for name in _ModelPart.model_fields if name in table}
    try:
        part = _ModelPart.model_validate(kept)
    except ValidationError as error:
        faults = validation_problems(error, _ModelPart)
        raise RecipeError(str(place), [*problems, *faults]) from error
    pretrained = part.model.pretrained
    if is_missing(pretrained):
        problems.append(Problem("model.pretrained", f"no such folder: {pretrained}"))
    else:
        problems += check_model(part.model, part.sampling.resolution)
    if problems:
        raise RecipeError(str(place), problems)
    tables = {name: getattr(part, name) for name in _ModelPart.model_fields}
    return Recipe.model_construct(prompts={}, rewards={}, **tables)
