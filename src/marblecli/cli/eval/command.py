"""``marble eval RUN_DIR``"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    target: Annotated[Path, typer.Argument(help="A run directory.")],
    prompts: Annotated[
        Path | None,
        typer.Option(help="Score on this prompt file (.txt or .jsonl).", show_default="the run's"),
    ] = None,
    images_per_prompt: Annotated[
        int | None, typer.Option(min=1, help="Images of each prompt.", show_default="the recipe's")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON document and nothing else.")
    ] = False,
) -> None:
    """Score base and trained weights on the same prompts from the same noise."""
    from marblecli.cli.eval.run import run_evaluation

    run_evaluation(target, prompts, images_per_prompt, as_json)
