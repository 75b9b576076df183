"""``marble rewards list``: what is installed, from where, and which plugins failed."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from marblecli.rewards.host import InstalledReward, RewardCatalog


def list_rewards(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the rewards, the distributions they come from, and the plugins that failed."""
    from marblecli.rewards.host import discover

    catalog = discover()
    if as_json:
        typer.echo(json.dumps(_document(catalog), indent=2, allow_nan=False))
        return
    _show(catalog)


def _document(catalog: RewardCatalog) -> dict[str, Any]:
    return {
        "rewards": [_describe(reward) for reward in catalog.rewards.values()],
        "clashes": [
            {"name": clash.name, "distributions": [one.distribution for one in clash.claimants]}
            for clash in catalog.clashes
        ],
        "failures": [
            {
                "entry_point": failure.entry_point,
                "distribution": failure.distribution,
                "message": failure.message,
            }
            for failure in catalog.failures
        ],
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
    from rich.markup import escape
    from rich.table import Table

    from marblecli.report.render import out as console

    table = Table()
    # Users copy names from here, so they are never cut.
    table.add_column("name", no_wrap=True, min_width=max(map(len, catalog.rewards), default=0))
    for column in ("applies to prompts with", "range", "from", "summary"):
        table.add_column(column, overflow="fold")
    for reward in catalog.rewards.values():
        spec = reward.spec
        needs = ", ".join([*spec.metadata, *(["its condition"] if spec.conditional else [])])
        bounds = "{:g} to {:g}".format(*spec.range)
        origin = f"{reward.distribution} {reward.version}"
        table.add_row(*map(escape, (spec.name, needs or "anything", bounds, origin, spec.summary)))
    if catalog.rewards:
        console.print(table)
    else:
        console.print("no rewards are installed: pip install marble-reward-shapes")
    for trouble in (*catalog.clashes, *catalog.failures):
        console.print(str(trouble), markup=False, highlight=False, soft_wrap=True)
