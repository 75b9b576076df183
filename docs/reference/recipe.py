"""docs/recipe.md: every table and field of a recipe, and the options of what it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel

from marblecli.methods.host import own_methods
from marblecli.models.registry import FAMILIES
from marblecli.rewards.host import discover
from marblecli.settings import Recipe
from reference.markdown import fragment, page, prose
from reference.options import NamedThing, nested_models, option_table, things_section

PLUGINS = Path(__file__).resolve().parents[2] / "plugins"

_INTRO = """
A recipe is a TOML file. Its tables are listed here with every key, what may be set, and the
default. `--set TABLE.KEY=VALUE` sets any of them on the command line. Paths are relative to the
recipe. A recipe is checked whole before any weight is loaded, and all of its errors are shown at
once.
`marble train RECIPE --dry-run` only checks."""

_METHODS = """
These are the keys of `[balance]` that the methods add to the common ones, also of each of the
`[[balance.phases]]`. The methods that aren't listed have none. `marble methods list` shows all
methods that are installed."""

_FAMILIES = """
These are the keys of `[model]` that the family of the model adds to the common ones."""

_REWARDS = """
These are the keys of `[rewards.NAME]` that the rewards in `plugins/` add to the common ones.
`marble rewards list` shows all rewards that are installed."""


def recipe_page() -> str:
    """The page as Markdown."""
    tables = list(recipe_tables(Recipe))
    links = "\n".join(f"- [`{_name(model)}`]({fragment(_name(model))})" for model in tables)
    sections = [_section(model) for model in tables]
    rewards = things_section(
        "Options of the rewards shipped here", prose(_REWARDS), shipped_rewards()
    )
    methods = things_section("Options of the methods", prose(_METHODS), own_methods_listed())
    families = things_section("Options of the model families", prose(_FAMILIES), families_listed())
    title = "# The recipe, field by field"
    return page(title, prose(_INTRO), links, *sections, families, methods, rewards)


def recipe_tables(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """The models of all tables below ``model``, each before those inside it."""
    for nested in nested_models(model).values():
        yield nested
        yield from recipe_tables(nested)


def shipped_rewards() -> list[NamedThing]:
    """The rewards of the packages in ``plugins/``, which must be installed."""
    ours = {project.parent.name for project in PLUGINS.glob("*/pyproject.toml")}
    installed = discover().rewards.values()
    if missing := ours - {reward.distribution for reward in installed}:
        raise SystemExit(f"not installed: {', '.join(sorted(missing))}; see CONTRIBUTING.md")
    found = [reward.spec for reward in installed if reward.distribution in ours]
    things = [NamedThing(spec.name, spec.summary, spec.options) for spec in found]
    return sorted(things, key=lambda thing: thing.name)


def own_methods_listed() -> list[NamedThing]:
    """The balance methods that come with marble and have options."""
    specs = [installed.spec for installed in own_methods()]
    return [
        NamedThing(spec.name, spec.summary, spec.options)
        for spec in specs
        if spec.options.model_fields
    ]


def families_listed() -> list[NamedThing]:
    """The model families."""
    specs = [family.spec for family in FAMILIES]
    return [NamedThing(spec.name, spec.title, spec.options) for spec in specs]


def _section(model: type[BaseModel]) -> str:
    text = prose(model.__doc__ or "").removeprefix(f"`{_name(model)}`").removeprefix(": ")
    return f"## `{_name(model)}`\n\n{text[:1].upper()}{text[1:]}\n\n{option_table(model)}"


def _name(model: type[BaseModel]) -> str:
    """The table's name in TOML, with which its docstring begins."""
    return (model.__doc__ or "").split("``")[1]
