"""``marble sample TARGET "PROMPT" ...``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from marblecli.cli.options import Base, SettingsFrom, Weights


def sample(  # noqa: PLR0913, PLR0917 - one parameter an option
    target: Annotated[
        str,
        typer.Argument(help="A run, a checkpoint of one, an adapter (file or folder), or a model."),
    ],
    texts: Annotated[
        list[str] | None, typer.Argument(metavar="[PROMPT]...", help="What to draw.")
    ] = None,
    prompts: Annotated[
        Path | None, typer.Option(help="Also draw the prompts of this file (.txt or .jsonl).")
    ] = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, help="Seed of the noise; repeatable.", show_default="0"),
    ] = None,
    images: Annotated[
        int, typer.Option(min=1, help="Images of each prompt, with seeds that count up.")
    ] = 1,
    steps: Annotated[
        int | None,
        typer.Option(min=2, help="Steps of the solver.", show_default="the recipe's [eval] steps"),
    ] = None,
    size: Annotated[
        str | None,
        typer.Option(metavar="WxH", help="Width and height.", show_default="the recipe's"),
    ] = None,
    guidance: Annotated[
        float,
        typer.Option(
            min=1.0, help="Scale of classifier-free guidance; 1 is none, as all scores are taken."
        ),
    ] = 1.0,
    negative: Annotated[
        str, typer.Option(help="Negative prompt of the guidance.", show_default="empty")
    ] = "",
    with_base: Annotated[
        bool,
        typer.Option("--with-base", help="Also draw the base model's image from the same noise."),
    ] = False,
    grid: Annotated[
        bool, typer.Option("--grid", help="Also write all images as one picture with captions.")
    ] = False,
    show: Annotated[
        bool,
        typer.Option("--show", help="Show the images in the terminal (kitty, iTerm2, sixel)."),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="The folder to write to.", show_default="sampled/TARGET-TIMESTAMP"),
    ] = None,
    weights: Weights = "average",
    checkpoint: Annotated[
        int | None,
        typer.Option(min=0, metavar="STEP", help="A run's checkpoint.", show_default="the newest"),
    ] = None,
    base: Base = None,
    recipe: SettingsFrom = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a field of [model]; repeatable."),
    ] = None,
) -> None:
    """Draw images of prompts with trained weights.

    The same prompt with the same seed gives the same image, whatever is drawn beside it. Each PNG
    holds its parameters as text.
    """
    from marblecli.cli.sample.prepare import SampleRequest, prepare
    from marblecli.cli.sample.run import run_sampling
    from marblecli.cli.target import TargetOptions

    request = SampleRequest(
        target=target,
        texts=tuple(texts or ()),
        prompt_file=prompts,
        seeds=tuple(seeds or ()),
        images=images,
        steps=steps,
        size=size,
        guidance=guidance,
        negative=negative,
        with_base=with_base,
        options=TargetOptions(base, recipe, weights, checkpoint, tuple(overrides or ())),
    )
    run_sampling(prepare(request), output, grid=grid, show=show)
