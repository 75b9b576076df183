"""Load a recipe, and find out everything that can be known without loading a weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.cli.initial import all_model_problems
from marblecli.errors import BadInputError, Problem, RecipeError
from marblecli.methods import checks
from marblecli.models.architectures import Architecture, UnreadableConfigError
from marblecli.models.check import model_problems
from marblecli.models.family import Family
from marblecli.models.options import resolved
from marblecli.models.supported import examine_model
from marblecli.report.render import tell
from marblecli.rewards.host import RewardCatalog, discover
from marblecli.runs.prompts import load_prompts
from marblecli.runs.recipe import load_recipe
from marblecli.settings import EvalRewardSettings, Recipe
from marblecli.types import Prompt

if TYPE_CHECKING:
    from marblecli.rewards.score import RewardSuite


@dataclass(frozen=True)
class Plan:
    """A checked recipe with its prompts and rewards."""

    recipe: Recipe
    catalog: RewardCatalog
    train_prompts: tuple[tuple[Prompt, ...], ...]
    """By source, in the recipe's order."""
    held_out_prompts: tuple[tuple[Prompt, ...], ...]
    """By source; sources without an ``eval`` file are left out."""
    family: Family
    """The model's family."""
    architecture: Architecture | UnreadableConfigError
    """The model's architecture, or why its configurations couldn't be read."""


def load_plan(
    path: Path,
    overrides: Sequence[str],
    *,
    quiet: bool = False,
    starting: bool = False,
    more: Sequence[Prompt] = (),
) -> Plan:
    """Load the recipe, and check all of it: keys, files, rewards, and the model's configurations as
    far as they can be read. Every reward has to apply to some training prompt.

    The plan's recipe has the defaults of the model's family written out. Keys that were renamed are
    reported on stderr, unless ``quiet``. ``starting`` is whether a new run starts from it: then the
    adapter that ``model.lora.init`` names is read, and must fit. ``more`` are
    prompts that evaluations also see.

    Raises:
        RecipeError: all faults at once.
        BadInputError: the file can't be read.

    """
    catalog = discover()
    check_options, notify = catalog.check_options, None if quiet else tell
    check_model = all_model_problems if starting else model_problems
    recipe = load_recipe(path, overrides, check_options, check_model, notify)
    examined = examine_model(recipe.model)
    model = resolved(examined.family, recipe.model)
    recipe = recipe.model_copy(update={"model": model, "balance": checks.resolved(recipe.balance)})
    train = _load(path, recipe, "train")
    held_out = _load(path, recipe, "eval")
    everywhere = [prompt for source in train for prompt in source]
    recipe = _with_enough_prompts(recipe, len(everywhere))
    idle = _idle(catalog, "rewards", recipe.rewards, everywhere)
    everywhere += [*more, *(prompt for source in held_out for prompt in source)]
    idle += _idle(catalog, "eval.rewards", recipe.eval.rewards, everywhere)
    if idle:
        raise RecipeError(str(path), idle)
    return Plan(recipe, catalog, train, held_out, examined.family, examined.architecture)


def _with_enough_prompts(recipe: Recipe, prompts: int) -> Recipe:
    """The recipe without the default's prompts of a step beyond those that there are."""
    sampling = recipe.sampling
    if "prompts_per_step" in sampling.model_fields_set or sampling.prompts_per_step <= prompts:
        return recipe
    fewer = sampling.model_copy(update={"prompts_per_step": prompts})
    return recipe.model_copy(update={"sampling": fewer})


def _idle(
    catalog: RewardCatalog,
    table: str,
    rewards: Mapping[str, EvalRewardSettings],
    prompts: Sequence[Prompt],
) -> list[Problem]:
    """One problem for each reward of the recipe's table that applies to none of the prompts."""
    kind = "training prompt" if table == "rewards" else "prompt of the recipe"
    return [
        Problem(
            f"{table}.{name}",
            f"applies to no {kind}; it needs the metadata "
            + (", ".join(catalog.get(name).spec.metadata) or "(none)")
            + (f" in sources {', '.join(entry.sources)}" if entry.sources else ""),
        )
        for name, entry in rewards.items()
        if not any(catalog.get(name).spec.applies(prompt, entry.sources) for prompt in prompts)
    ]


def also_trained(plan: Plan, prompts: Sequence[Prompt]) -> tuple[str, ...]:
    """The texts among ``prompts`` that are also training prompts, in order, each once."""
    trained = {prompt.text for source in plan.train_prompts for prompt in source}
    return tuple(dict.fromkeys(prompt.text for prompt in prompts if prompt.text in trained))


def also_trained_line(texts: Sequence[str], count: int) -> str:
    """One line about the ``texts``, of ``count`` held-out prompts, that are also trained on."""
    shown = "; ".join(repr(text) for text in texts[:3])
    rest = f"; and {len(texts) - 3} more" if len(texts) > 3 else ""
    return f"{len(texts)} of {count} held-out prompts are also trained on: {shown}{rest}"


def _load(recipe_path: Path, recipe: Recipe, split: str) -> tuple[tuple[Prompt, ...], ...]:
    loaded, problems = [], []
    for source, settings in recipe.prompts.items():
        file = settings.train if split == "train" else settings.eval
        if file is None:
            continue
        try:
            loaded.append(load_prompts(file, source))
        except BadInputError as error:
            problems.append(Problem(f"prompts.{source}.{split}", str(error)))
    if problems:
        raise RecipeError(str(recipe_path), problems)
    return tuple(loaded)


def evaluation_splits(plan: Plan) -> dict[str, tuple[Prompt, ...]]:
    """The prompts of the recipe's evaluations, by split; a split without prompts is left out."""
    from marblecli.train.sampler import evaluation_prompts

    settings = plan.recipe.eval
    chosen = {
        "train": evaluation_prompts(plan.train_prompts, settings.train_prompts),
        "held-out": evaluation_prompts(plan.held_out_prompts, settings.held_out_prompts),
    }
    return {split: prompts for split, prompts in chosen.items() if prompts}


def build_suite(plan: Plan, device: str) -> RewardSuite:
    """Load the recipe's rewards, also those that are only evaluated.

    ``device`` is where those score that name no other.
    """
    from marblecli.rewards.activate import activate
    from marblecli.rewards.score import RewardSuite

    rewards = plan.recipe.all_rewards.items()
    return RewardSuite([activate(plan.catalog, name, entry, device) for name, entry in rewards])
