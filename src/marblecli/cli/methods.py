"""``marble methods``: which balance methods are installed, and whether one keeps the contract."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from marblecli.cli.examples import examples

if TYPE_CHECKING:
    from marblecli.methods.host import MethodCatalog
    from marblecli.methods.method import MethodSpec
    from marblecli.plugins import Installed

methods_app = typer.Typer(help="The balance methods that are installed.", no_args_is_help=True)


@methods_app.command("list", epilog=examples("methods list"))
def list_methods(
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
) -> None:
    """List the methods, their options, where they come from, and the plugins that failed."""
    from marblecli.methods.host import discover_methods

    catalog = discover_methods()
    if as_json:
        typer.echo(json.dumps(_document(catalog), indent=2, allow_nan=False))
    else:
        _show(catalog)


@methods_app.command("check", epilog=examples("methods check"))
def check(
    name: Annotated[str, typer.Argument(help="An installed method.")],
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set an option; repeatable."),
    ] = None,
) -> None:
    """Try a method on drawn batches against the contract; exit code 1 if it breaks it."""
    from marblecli.cli.rewards.options import parse_options
    from marblecli.methods.testing import check_method
    from marblecli.report.render import out

    faults = check_method(name, parse_options(overrides or []))
    for fault in faults:
        out.print(fault, markup=False, soft_wrap=True)
    out.print(f"{name} " + ("breaks" if faults else "keeps") + " the contract", markup=False)
    if faults:
        raise typer.Exit(1)


def _document(catalog: MethodCatalog) -> dict[str, Any]:
    from marblecli.plugins import troubles_json

    return {
        "schema": 1,
        "methods": [_describe(method) for method in catalog.methods.values()],
        **troubles_json(catalog.clashes, catalog.failures),
    }


def _describe(installed: Installed[MethodSpec]) -> dict[str, Any]:
    spec = installed.spec
    return {
        "name": spec.name,
        "summary": spec.summary,
        "aliases": list(spec.aliases),
        "options": list(spec.options.model_fields),
        "needs": {
            "rows": spec.needs.rows,
            "parts": spec.needs.parts,
            "signal": spec.needs.signal,
            "scores": spec.needs.scores,
            "whole_weights": not spec.needs.sharded,
        },
        "own_loss": spec.targets is not None,
        "distribution": installed.distribution,
        "version": installed.version,
    }


def _show(catalog: MethodCatalog) -> None:
    from rich.markup import escape
    from rich.table import Table

    from marblecli.report.render import out

    table = Table()
    # A name is there to be typed: it is never cut.
    table.add_column("name", no_wrap=True, min_width=max(map(len, catalog.methods), default=0))
    for column in ("direction", "options", "needs", "from"):
        table.add_column(column, overflow="fold")
    for installed in catalog.methods.values():
        spec = installed.spec
        summary = spec.summary
        if spec.aliases:
            summary += f" (also called {', '.join(spec.aliases)})"
        options = ", ".join(spec.options.model_fields)
        origin = f"{installed.distribution} {installed.version}"
        table.add_row(*map(escape, (spec.name, summary, options, _needs(spec), origin)))
    out.print(table)
    for trouble in (*catalog.clashes, *catalog.failures):
        out.print(str(trouble), markup=False, highlight=False, soft_wrap=True)


def _needs(spec: MethodSpec) -> str:
    needs = spec.needs
    words = (
        ("the batch's head" if needs.rows == "head" else ""),
        ("gradients in parts" if needs.parts else ""),
        ("remembered gradients" if needs.signal else ""),
        ("scores" if needs.scores else ""),
        ("" if needs.sharded else "whole weights"),
        ("a loss of its own" if spec.targets is not None else ""),
    )
    return ", ".join(filter(None, words))
