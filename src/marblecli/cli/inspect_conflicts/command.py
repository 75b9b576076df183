"""``marble inspect-conflicts RUN_DIR``, and ``marble inspect-conflicts RECIPE``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marblecli.errors import BadInputError


def inspect_conflicts(  # noqa: PLR0913 - one parameter an option
    target: Annotated[
        Path,
        typer.Argument(help="A run directory; or a recipe, to probe its model before training."),
    ],
    html_file: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="With --html: the page to write.")
    ] = None,
    *,
    html: Annotated[
        bool, typer.Option("--html", help="Write a page: FILE, or conflicts.html in the run.")
    ] = False,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            help="Judge this method on the same batches: any method of a recipe's balance, "
            "single:REWARD, or one with settings, as in marble,memory=0.9; repeatable.",
        ),
    ] = None,
    balancer: Annotated[
        list[str] | None,
        typer.Option("--balancer", hidden=True, help="The former name of --method."),
    ] = None,
    details: Annotated[
        bool,
        typer.Option(
            "--details",
            help="Show every reward with every direction, prompt source and noise level.",
        ),
    ] = False,
    show_all: Annotated[bool, typer.Option("--all", help="Show every measured batch.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
    no_train: Annotated[
        bool, typer.Option("--no-train", hidden=True, help="Has no effect: nothing is trained.")
    ] = False,
    batches: Annotated[
        int | None, typer.Option(min=1, help="Of a recipe: batches to measure (default 8).")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Of a recipe: set any field; repeatable."),
    ] = None,
    geometries: Annotated[
        bool,
        typer.Option(
            "--geometries",
            help="Of a recipe: also measure a few other numbers of sampler steps and noise "
            "levels, and say which of them buys more for a forward pass.",
        ),
    ] = False,
    geometry: Annotated[
        list[str] | None,
        typer.Option(
            "--geometry",
            metavar="KEY=VALUE,...",
            help="Of a recipe: measure this one beside it, as in "
            "sampling.steps=8,training.noise_levels=2; repeatable.",
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option("--out", help="Of a recipe: keep what was measured as a run directory."),
    ] = None,
) -> None:
    """Show which rewards the training direction conflicts with, how often, and how surely.

    It also shows what a step buys: how sure its gradients are for the forward passes that they
    take.
    """
    from marblecli.cli.inspect_conflicts.run import InspectOptions, inspect_run

    if html_file is not None and not html:
        raise BadInputError(f"unexpected {html_file}: only --html takes a second file")
    if no_train:
        typer.echo("--no-train has no effect and is no longer needed: nothing is trained", err=True)
    methods = (*(method or ()), *(balancer or ()))
    options = InspectOptions(methods, details, show_all, as_json, html_file)
    if target.is_file() or target.suffix == ".toml":
        from marblecli.cli.inspect_conflicts.probe import (
            DEFAULT_BATCHES,
            ProbeOptions,
            probe_recipe,
        )

        request = ProbeOptions(
            batches or DEFAULT_BATCHES,
            tuple(overrides or ()),
            keep,
            tuple(geometry or ()),
            geometries,
        )
        probe_recipe(target, request, options, default_html=html)
        return
    of_recipes = {
        "--batches": batches,
        "--set": overrides,
        "--geometries": geometries,
        "--geometry": geometry,
        "--out": keep,
    }
    for option, value in of_recipes.items():
        if value:
            raise BadInputError(f"{option} is for a recipe, and {target} is a run directory")
    inspect_run(target, options, default_html=html)
