"""``marble rewards check NAME``"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from marblecli.cli.rewards.options import Overrides, parse_options

if TYPE_CHECKING:
    from marblecli.rewards.testing import Report

_COLOURS = {"ok": "green", "failed": "red", "not run": "yellow"}


def check(
    name: Annotated[str, typer.Argument(help="An installed reward.")],
    overrides: Overrides = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Try it on the prompts of this file.", show_default="its examples"),
    ] = None,
    device: Annotated[str, typer.Option(help="Where to load it: cpu, cuda, ...")] = "cpu",
    max_seconds: Annotated[
        float | None, typer.Option(min=0, help="Seconds an image that it may take.")
    ] = None,
    max_memory: Annotated[
        float | None, typer.Option(min=0, help="Memory that it may take, in MB (10^6 bytes).")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Build a reward and check that it keeps the contract; exit code 1 if it doesn't."""
    from dataclasses import replace

    from marblecli.report.render import log
    from marblecli.rewards.testing import Limits, check_reward, make_samples
    from marblecli.runs.prompts import load_prompts

    limits = Limits()
    if max_seconds is not None:
        limits = replace(limits, seconds_per_image=max_seconds)
    if max_memory is not None:
        limits = replace(limits, memory_mb=max_memory)
    given = load_prompts(prompts, prompts.stem)[:_MOST] if prompts else ()
    with log.status(f"trying {name}"):
        report = check_reward(
            name,
            options=parse_options(overrides or []),
            samples=make_samples(given, max(len(given), 8)) if given else None,
            device=device,
            limits=limits,
        )
    _show(report, as_json)
    if not report.ok:
        raise typer.Exit(1)


_MOST = 32
"""At most so many prompts of a file are tried."""


def _show(report: Report, as_json: bool) -> None:
    import json

    from rich.markup import escape
    from rich.table import Table

    from marblecli.report.render import out

    if as_json:
        typer.echo(json.dumps(report.to_json(), indent=2, allow_nan=False))
        return
    table = Table(title=f"the contract of {report.reward}", title_justify="left")
    for column in ("check", "result", "found"):
        table.add_column(column, overflow="fold", no_wrap=column == "check")
    for one in report.results:
        colour = _COLOURS[one.status]
        table.add_row(one.name, f"[{colour}]{one.status}[/{colour}]", escape(one.detail))
    out.print(table)
    out.print(f"{report.reward} " + ("keeps" if report.ok else "breaks") + " the contract")
