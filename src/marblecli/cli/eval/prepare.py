"""Check what ``marble eval`` is asked for, and find the target's recipe, prompts and rewards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marblecli.cli.eval.scoring import Job, Splits
from marblecli.cli.setup import Plan, evaluation_splits, load_plan
from marblecli.cli.target import Target, TargetOptions, Weights, find_target
from marblecli.errors import BadInputError, RecipeError, did_you_mean
from marblecli.models.quiet import quiet_libraries
from marblecli.models.supported import examine_model
from marblecli.rewards.host import discover
from marblecli.runs.prompts import load_prompts
from marblecli.runs.recipe import read_table
from marblecli.settings import EvalRewardSettings, Recipe
from marblecli.types import Prompt

BASE = "base"
"""What ``--compare`` calls the base model."""


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    target: str
    rewards: Sequence[str] = ()
    """Names of installed rewards; empty for the recipe's."""
    prompt_file: Path | None = None
    compare: str = BASE
    images_per_prompt: int | None = None
    overrides: Sequence[str] = ()
    output: Path | None = None
    base: str | None = None
    recipe: Path | None = None
    """Of the target, if it is an adapter or a model."""
    weights: Weights = "average"


@dataclass(frozen=True)
class Prepared:
    """A checked request."""

    job: Job
    trained: frozenset[str]
    """The rewards that the target was trained on, as far as its recipe says."""


def prepare(request: Request, *, quiet: bool = False) -> Prepared:
    """Check the request, and load what needs no weights of the base model. Raises BadInputError."""
    quiet_libraries()
    target = _find(request, request.target, request.overrides)
    of_model = [text for text in request.overrides if text.startswith("model.")]
    other = None if request.compare == BASE else _find(request, request.compare, of_model)
    file = request.prompt_file
    given = () if file is None else load_prompts(file, file.stem)
    plan = _plan(request, target, given, quiet=quiet)
    trained = frozenset() if target.kind == "model" else frozenset(plan.recipe.rewards)
    if request.rewards:
        plan = _only(plan, request.rewards)
    splits = _own_splits(plan) if file is None else {file.name: given}
    _check_rewards_apply(plan, request.rewards, splits)
    return Prepared(Job(plan, splits, target, other), trained)


def _find(request: Request, text: str, overrides: Sequence[str]) -> Target:
    options = TargetOptions(
        base=request.base, recipe=request.recipe, weights=request.weights, overrides=overrides
    )
    return find_target(text, options)


def _plan(request: Request, target: Target, given: Sequence[Prompt], *, quiet: bool) -> Plan:
    """The target's whole recipe, with the target's own model."""
    if target.recipe_file is None:
        return _plan_without_recipe(request, target)
    table = read_table(target.recipe_file)
    known = {*table.get("rewards", {}), *table.get("eval", {}).get("rewards", {})}
    extra = [f"eval.rewards.{name}={{}}" for name in request.rewards if name not in known]
    if (count := request.images_per_prompt) is not None:
        extra += [f"eval.{key}={value}" for key, value in _image_counts(count).items()]
    overrides = [*extra, *request.overrides]
    plan = load_plan(target.recipe_file, overrides, quiet=quiet, more=given)
    return replace(plan, recipe=plan.recipe.model_copy(update={"model": target.recipe.model}))


def _plan_without_recipe(request: Request, target: Target) -> Plan:
    """A plan of named rewards on given prompts, for a target of which no recipe is known."""
    if request.prompt_file is None or not request.rewards:
        raise BadInputError(
            f"{target.place} has no recipe that says what to score it on: give --prompts FILE and "
            "--rewards NAMES, or --recipe RECIPE"
        )
    catalog, recipe = discover(), target.recipe
    extra = dict.fromkeys(request.rewards, EvalRewardSettings()) | dict(recipe.eval.rewards)
    problems = [
        problem
        for name, entry in extra.items()
        for problem in catalog.check_options(name, entry.options)
    ]
    if problems:
        raise RecipeError("--rewards", problems)
    counts = {} if request.images_per_prompt is None else _image_counts(request.images_per_prompt)
    recipe = _with_eval(recipe, rewards=extra, **counts)
    examined = examine_model(recipe.model)
    return Plan(recipe, catalog, (), (), examined.family, examined.architecture)


def _image_counts(count: int) -> dict[str, int]:
    # The interval on training prompts needs at least two images of each.
    return {"images_per_prompt": count, "images_per_train_prompt": max(count, 2)}


def _with_eval(recipe: Recipe, **changes: object) -> Recipe:
    return recipe.model_copy(update={"eval": recipe.eval.model_copy(update=changes)})


def _only(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with these rewards alone."""
    recipe = plan.recipe
    if unknown := [name for name in names if name not in recipe.all_rewards]:
        hint = did_you_mean(unknown[0], recipe.all_rewards)
        raise BadInputError(f"--rewards: no reward {unknown[0]!r}{hint}")
    rewards = {name: entry for name, entry in recipe.rewards.items() if name in names}
    extra = {name: entry for name, entry in recipe.eval.rewards.items() if name in names}
    narrowed = recipe.model_copy(update={"rewards": rewards})
    return replace(plan, recipe=_with_eval(narrowed, rewards=extra))


def _own_splits(plan: Plan) -> Splits:
    found = evaluation_splits(plan)
    if not found:
        raise BadInputError("the recipe has no evaluation prompts; name a file with --prompts")
    return found


def _check_rewards_apply(plan: Plan, names: Sequence[str], splits: Splits) -> None:
    """Raise BadInputError if a reward that was named applies to no prompt."""
    everywhere = [prompt for prompts in splits.values() for prompt in prompts]
    for name in names:
        spec, entry = plan.catalog.get(name).spec, plan.recipe.all_rewards[name]
        if not any(spec.applies(prompt, entry.sources) for prompt in everywhere):
            needs = ", ".join(spec.metadata) or "(none)"
            raise BadInputError(
                f"--rewards {name}: applies to no prompt that is evaluated; it needs the metadata "
                f"{needs}; give prompts that have them with --prompts FILE.jsonl"
            )
