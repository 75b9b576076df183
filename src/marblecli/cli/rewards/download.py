"""``marble rewards download NAME...``"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marblecli.cli.rewards.options import Overrides, parse_options

if TYPE_CHECKING:
    from marblecli.rewards.host import RewardCatalog
    from marblecli.rewards.hub import Inventory
    from marblecli.rewards.spec import HubFiles


def download(
    names: Annotated[list[str] | None, typer.Argument(help="Installed rewards.")] = None,
    recipe: Annotated[
        Path | None,
        typer.Option(help="The rewards of this recipe with its options, and its base model."),
    ] = None,
    model: Annotated[
        bool, typer.Option("--model/--no-model", help="With --recipe: fetch the base model, too.")
    ] = True,
    everything: Annotated[bool, typer.Option("--all", help="All installed rewards.")] = False,
    overrides: Overrides = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Fetch what a run reads from the hub, ahead of it: rewards' files and the base model."""
    from marblecli.cli.progress import showing_work
    from marblecli.progress import work
    from marblecli.report.render import log
    from marblecli.rewards.host import discover
    from marblecli.rewards.hub import fetch, take_inventory

    catalog = discover()
    wanted = _wanted(catalog, names or [], recipe, everything, overrides or [])
    files = _files(catalog, wanted)
    downloads = []
    with showing_work():
        for one, rewards in files.items():
            with work(f"asking for {one.repo}"):
                inventory = take_inventory(one)
            missing, whole = _size(inventory.missing_bytes), _size(inventory.bytes)
            log.print(f"{one.repo}: {missing} of {whole} to fetch", highlight=False)
            folder = fetch(one, inventory.missing_bytes or None)
            downloads.append(_Download(one, tuple(rewards), inventory, folder))
        base = _fetch_model(recipe, catalog) if recipe is not None and model else None
    _show(list(wanted), downloads, base, as_json)


def _fetch_model(recipe: Path, catalog: RewardCatalog) -> _Model:
    """Fetch the recipe's base model, if it is on the hub."""
    from marblecli.models.quiet import quiet_libraries
    from marblecli.report.render import log
    from marblecli.runs.recipe import load_recipe

    settings = load_recipe(recipe, [], catalog.check_options).model
    quiet_libraries()
    from marblecli.models.download import fetch_model

    log.print(f"base model: {settings.pretrained}", highlight=False, soft_wrap=True)
    return _Model(settings.pretrained, fetch_model(settings))


@dataclass(frozen=True)
class _Model:
    """A recipe's base model."""

    pretrained: str
    folder: Path | None
    """None if nothing had to be fetched."""


@dataclass(frozen=True)
class _Download:
    files: HubFiles
    rewards: tuple[str, ...]
    """The rewards that read them."""
    inventory: Inventory
    """What was in the cache before the download."""
    folder: Path


def _wanted(
    catalog: RewardCatalog,
    names: list[str],
    recipe: Path | None,
    everything: bool,
    overrides: list[str],
) -> dict[str, Mapping[str, Any]]:
    """The options of every reward that was asked for, by name."""
    from marblecli.errors import BadInputError
    from marblecli.report.render import tell
    from marblecli.runs.recipe import load_recipe

    if sum((bool(names), recipe is not None, everything)) != 1:
        raise BadInputError("give names of rewards, --recipe RECIPE, or --all")
    if overrides and len(names) != 1:
        raise BadInputError("--set is for one named reward; a recipe has the options of several")
    if recipe is not None:
        rewards = load_recipe(recipe, [], catalog.check_options, tell=tell).all_rewards
        return {name: entry.options for name, entry in rewards.items()}
    if everything:
        # A reward that needs options can't say without them which files it reads.
        names = [name for name in catalog.rewards if not catalog.check_options(name, {})]
    return dict.fromkeys(names, parse_options(overrides))


def _files(
    catalog: RewardCatalog, wanted: Mapping[str, Mapping[str, Any]]
) -> dict[HubFiles, list[str]]:
    """All files, each once, with the rewards that read them."""
    found: dict[HubFiles, list[str]] = {}
    for name, options in wanted.items():
        for one in catalog.get(name).spec.files(catalog.validate(name, options)):
            found.setdefault(one, []).append(name)
    return found


def _show(
    names: Iterable[str], downloads: list[_Download], base: _Model | None, as_json: bool
) -> None:
    import json

    from rich.table import Table

    from marblecli.report.render import out

    if as_json:
        document: dict[str, Any] = {
            "rewards": list(names),
            "downloads": [_describe(one) for one in downloads],
        }
        if base is not None:
            folder = None if base.folder is None else str(base.folder)
            document["model"] = {"pretrained": base.pretrained, "folder": folder}
        typer.echo(json.dumps(document, indent=2))
        return
    if base is not None:
        place = base.folder or "nothing to fetch"
        out.print(f"base model: {place}", markup=False, highlight=False, soft_wrap=True)
    if not downloads:
        out.print("nothing to fetch: these rewards read no files from the hub")
        return
    table = Table()
    for column in ("repository", "revision"):
        table.add_column(column, overflow="fold")
    for column in ("files", "size", "fetched"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("for", overflow="fold")
    for one in downloads:
        found = one.inventory
        table.add_row(
            one.files.repo,
            one.files.revision[:12],
            str(found.count),
            _size(found.bytes),
            _size(found.missing_bytes),
            ", ".join(one.rewards),
        )
    out.print(table)
    fetched = sum(one.inventory.missing_bytes for one in downloads)
    total = sum(one.inventory.bytes for one in downloads)
    out.print(f"fetched {_size(fetched)}; {_size(total)} in all", highlight=False)


def _describe(one: _Download) -> dict[str, Any]:
    return {
        "repo": one.files.repo,
        "revision": one.files.revision,
        "files": one.inventory.count,
        "bytes": one.inventory.bytes,
        "fetched_bytes": one.inventory.missing_bytes,
        "rewards": list(one.rewards),
        "folder": str(one.folder),
    }


def _size(count: int) -> str:
    """``1.7 GB``, in powers of ten."""
    size = float(count)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} GB"
