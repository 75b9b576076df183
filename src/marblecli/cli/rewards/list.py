"""``marble rewards list``: what is installed, from where, and which plugins failed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from marblecli.rewards.host import InstalledReward, RewardCatalog


def list_rewards(
    names: Annotated[
        list[str] | None, typer.Argument(help="Show all that is known of these rewards.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the rewards, the packages they come from, and the plugins that failed."""
    from dataclasses import replace

    from marblecli.rewards.host import discover

    catalog = discover()
    if names:
        catalog = replace(catalog, rewards={name: catalog.get(name) for name in names})
    if as_json:
        typer.echo(json.dumps(_document(catalog), indent=2, allow_nan=False))
    elif names:
        for reward in catalog.rewards.values():
            _show_one(reward)
    else:
        _show(catalog)


def _document(catalog: RewardCatalog) -> dict[str, Any]:
    from marblecli.plugins import troubles_json

    return {
        "rewards": [_describe(reward) for reward in catalog.rewards.values()],
        **troubles_json(catalog.clashes, catalog.failures),
    }


def _describe(reward: InstalledReward) -> dict[str, Any]:
    spec = reward.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "metadata": list(spec.metadata),
        "conditional": spec.conditional,
        "range": [bound if math.isfinite(bound) else None for bound in spec.range],
        "options": list(spec.options.model_fields),
        "distribution": reward.distribution,
        "version": reward.version,
    }


def _show(catalog: RewardCatalog) -> None:
    """One line for each reward, whatever the screen's width."""
    from textwrap import shorten

    from marblecli.report.render import out as console

    rows = [
        (reward.spec.name, reward.distribution.removeprefix("marble-reward-"), reward.spec.summary)
        for reward in catalog.rewards.values()
    ]
    # Users copy names from here, so they are never cut.
    names = max((len(name) for name, _, _ in rows), default=0)
    packages = max((len(package) for _, package, _ in rows), default=0)
    room = max(20, console.width - names - packages - 4)
    header = [("reward", "from", "what it is")] if rows else []
    for name, package, summary in (*header, *rows):
        cut = shorten(summary, room, placeholder=" ...")
        console.print(f"{name:{names}}  {package:{packages}}  {cut}", markup=False, soft_wrap=True)
    if rows:
        console.print("`marble rewards list NAME` shows what a reward needs, and its options.")
    else:
        from marblecli.rewards.known import install_command

        command = install_command("marble-reward-shapes")
        console.print(f"no rewards are installed: {command}", markup=False, soft_wrap=True)
    for trouble in (*catalog.clashes, *catalog.failures):
        console.print(str(trouble), markup=False, highlight=False, soft_wrap=True)


def _show_one(reward: InstalledReward) -> None:
    from marblecli.report.render import out as console

    spec = reward.spec
    needs = ", ".join([*spec.metadata, *(["its condition"] if spec.conditional else [])])
    options = ", ".join(spec.options.model_fields)
    for line in (
        f"{spec.name}: {spec.summary}",
        f"  applies to prompts with: {needs or 'anything'}",
        "  range: {:g} to {:g}".format(*spec.range),
        f"  from: {reward.distribution} {reward.version}",
        f"  options: {options or 'none'} (docs/recipe.md says what they do)",
    ):
        console.print(line, markup=False, soft_wrap=True)
