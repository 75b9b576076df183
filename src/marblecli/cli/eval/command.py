"""``marble eval TARGET``"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from marblecli.cli.options import Base, NumProcesses, SettingsFrom, Weights


def evaluate(  # noqa: PLR0913, PLR0917 - one parameter an option
    target: Annotated[
        str,
        typer.Argument(help="A run, a checkpoint of one, an adapter (file or folder), or a model."),
    ],
    rewards: Annotated[
        list[str] | None,
        typer.Option(
            help="Installed rewards to score with, trained or not: NAME,NAME; repeatable.",
            metavar="NAMES",
            show_default="the recipe's",
        ),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(help="Score on this prompt file (.txt or .jsonl).", show_default="the run's"),
    ] = None,
    compare: Annotated[
        str,
        typer.Option(metavar="OTHER", help="Compare with another target, or with the base model."),
    ] = "base",
    base: Base = None,
    recipe: SettingsFrom = None,
    weights: Weights = "average",
    images_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Images of each prompt.", show_default="the recipe's")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set any recipe field; repeatable."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Folder for scores and pictures.", show_default="RUN_DIR/evaluations/..."
        ),
    ] = None,
    num_processes: NumProcesses = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Score trained weights beside the base model's on the same prompts from the same noise.

    Every reward gets its mean, its paired change with a 95 % interval, and its win rate, over all
    prompts and by prompt source. An evaluation that was stopped goes on with the same command.
    """
    from marblecli.cli.eval.prepare import Request, prepare
    from marblecli.cli.eval.run import run_evaluation
    from marblecli.cli.launch import launch, wants_launch

    names = [name.strip() for text in rewards or () for name in text.split(",") if name.strip()]
    request = Request(
        target=target,
        rewards=tuple(dict.fromkeys(names)),
        prompt_file=prompts,
        compare=compare,
        images_per_prompt=images_per_prompt,
        overrides=tuple(overrides or ()),
        output=output,
        base=base,
        recipe=recipe,
        weights=weights,
    )
    starts_others = wants_launch(num_processes)
    prepared = prepare(request, quiet=starts_others)
    if starts_others:
        launch(num_processes, sys.argv[1:], "the same command goes on where it was")
    else:
        run_evaluation(request, prepared, as_json=as_json)
