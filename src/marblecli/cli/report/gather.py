"""Read a run directory for its page, as far as it can be read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from marblecli.cli.inspect_conflicts.run import make_directions
from marblecli.cli.report.galleries import galleries_of
from marblecli.conflicts.findings import find
from marblecli.conflicts.judge import Direction
from marblecli.errors import BadInputError
from marblecli.report.gallery import Gallery
from marblecli.report.run_data import Conflicts, RunData
from marblecli.runs.recipe import read_table
from marblecli.runs.run import Run
from marblecli.runs.run_balance import RunBalance
from marblecli.types import EvaluationRecord, Json

T = TypeVar("T")
U = TypeVar("U")


def gather(directory: Path) -> RunData:
    """Everything that the directory holds. What it lacks, or can't be read, is named.

    Raises BadInputError if it holds no file of a run.
    """
    run, missing = Run(directory), _Missing()
    files = (run.recipe_file, run.metrics_file, run.evaluations_file, run.conflicts_file)
    if not any(file.is_file() for file in files):
        raise BadInputError(
            f"{directory} is no run directory: it has neither recipe.toml nor metrics.jsonl; start "
            "a run with `marble train RECIPE`"
        )
    nothing: Mapping[str, Json] = {}
    recipe = missing.tried(lambda: _recipe(run, missing), nothing)
    evaluations: Sequence[EvaluationRecord] = missing.tried(run.evaluations, ())
    if not evaluations:
        missing.say("There is no evaluation yet: no change since the base model is known.")
    elif not all(each.images for each in evaluations):
        missing.say(
            "The evaluations hold no scores of single images, as in runs of earlier versions: "
            "their changes have no intervals, and can't be paired with another run's."
        )
    pictures: Sequence[Gallery] = missing.tried(lambda: galleries_of(run.pictures()), ())
    if not pictures:
        missing.say("There are no pictures in samples/.")
    metrics: Sequence[Mapping[str, Json]] = missing.tried(run.metrics, ())
    if not metrics:
        missing.say("There is no optimizer step in metrics.jsonl yet.")
    return RunData(
        title=str(directory),
        recipe=recipe,
        recipe_text=_text(run.recipe_file) if recipe else "",
        environment=missing.tried(lambda: _environment(run, missing), nothing),
        metrics=metrics,
        evaluations=evaluations,
        conflicts=missing.tried(lambda: _conflicts(run, missing), None),
        galleries=pictures,
        missing=missing.lines,
    )


class _Missing:
    """Lines about what isn't there."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        """Keep a line; each once."""
        if line not in self.lines:
            self.lines.append(line)

    def tried(self, read: Callable[[], T], otherwise: U) -> T | U:
        """What ``read`` gives; ``otherwise``, and a line, if its file can't be read."""
        try:
            return read()
        except (BadInputError, OSError) as error:
            self.say(str(error))
            return otherwise


def _recipe(run: Run, missing: _Missing) -> Mapping[str, Json]:
    if not run.recipe_file.is_file():
        missing.say("There is no recipe.toml.")
        return {}
    return read_table(run.recipe_file)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace")


def _environment(run: Run, missing: _Missing) -> Mapping[str, Json]:
    found = run.environment()
    if not found:
        missing.say("There is no environment.json.")
    return found


def _conflicts(run: Run, missing: _Missing) -> Conflicts | None:
    """Only recorded directions are judged: any other would take long for a long run."""
    if not run.conflicts_file.is_file():
        missing.say("No batch was measured: nothing is known of conflicts between rewards.")
        return None
    records = run.conflicts()
    balance: RunBalance | None = missing.tried(run.balance, None)
    try:
        findings = find(records, make_directions(balance, ("applied",)))
    except BadInputError as error:
        missing.say(f"The applied direction isn't judged on held-out halves: {error}")
        findings = find(records, [Direction(name) for name in ("applied", "update")])
    return Conflicts(records, findings)
