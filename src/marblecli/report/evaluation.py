"""The result of ``marble eval``: a table for each split, and the JSON document."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.table import Table
from rich.text import Text

from marblecli.types import Json, RewardChange

_CAPTIONS = {
    "train": "Training prompts with noise that isn't trained on; the interval is for other noise.",
}
_OTHERS = "The interval is for other prompts of the same kind."


@dataclass(frozen=True)
class SplitResult:
    """What was found on one split of the prompts."""

    split: str
    prompts: int
    changes: Sequence[RewardChange]
    sources: Mapping[str, tuple[int, Sequence[RewardChange]]] = field(default_factory=dict)
    """By prompt source: the number of prompts, and the changes on them."""
    also_trained: Sequence[str] = ()
    """Held-out prompts that are also training prompts."""


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluation of ``target`` beside ``other``."""

    target: str
    checkpoint: str
    other: str
    splits: Sequence[SplitResult]
    trained: frozenset[str]
    """The rewards that the target was trained on."""
    output: str
    """The folder of the evaluation."""


def result_table(result: EvaluationResult, found: SplitResult) -> Table:
    """One row for each reward, and below it one for each prompt source if there are several."""
    before = "base" if result.other == "base" else "other"
    table = Table(
        title=f"{found.split} prompts: {found.prompts}", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    table.add_column("reward", no_wrap=True)
    for title in (before, "target", "change", "95 % interval", "wins", "images"):
        table.add_column(title, justify="right", no_wrap=True)
    for change in found.changes:
        table.add_row(change.reward, *_cells(change))
        parts = _by_source(found, change.reward)
        for source, part in parts.items() if len(parts) > 1 else ():
            table.add_row(Text(f"  {source}"), *_cells(part), style="dim")
    return table


def _by_source(found: SplitResult, reward: str) -> dict[str, RewardChange]:
    return {
        source: change
        for source, (_, changes) in found.sources.items()
        for change in changes
        if change.reward == reward
    }


def split_notes(result: EvaluationResult, found: SplitResult) -> Iterator[str]:
    """What must be known to read the table of a split."""
    yield _CAPTIONS.get(found.split, _OTHERS)
    untrained = [each.reward for each in found.changes if each.reward not in result.trained]
    if untrained:
        yield f"Not trained: {', '.join(untrained)}."
    if found.also_trained:
        shown = "; ".join(repr(text) for text in found.also_trained[:3])
        more = len(found.also_trained) - 3
        yield (
            f"{len(found.also_trained)} of these {found.prompts} prompts are also trained on: "
            f"{shown}" + (f"; and {more} more (--json names all)." if more > 0 else ".")
        )


def last_notes(result: EvaluationResult) -> Iterator[str]:
    """What is said once, below all tables."""
    if result.other != "base":
        yield f"other: {result.other}"
    yield "wins: the share of images that score higher than the other's from the same noise;"
    yield "ties count half. Images are sampled without guidance."
    yield f"checkpoint: {result.checkpoint}"
    yield f"pictures and scores: {result.output}"


def result_document(result: EvaluationResult) -> dict[str, Json]:
    """The JSON document: all splits under ``splits``, and the last one also at the top level.

    The last split is ``held-out``, if there is one. Null stands for no value.
    """
    splits = {found.split: _split_document(result, found) for found in result.splits}
    main = list(splits)[-1]
    return {
        "target": result.target,
        "checkpoint": result.checkpoint,
        "split": main,
        **splits[main],
        "splits": splits,
        "output": result.output,
    }


def _split_document(result: EvaluationResult, found: SplitResult) -> dict[str, Json]:
    return {
        "prompts": found.prompts,
        **_rewards_document(result, found.changes),
        "sources": {
            source: {"prompts": count, **_rewards_document(result, changes)}
            for source, (count, changes) in found.sources.items()
        },
        "also_trained": {"count": len(found.also_trained), "prompts": list(found.also_trained)},
    }


def _rewards_document(result: EvaluationResult, changes: Sequence[RewardChange]) -> dict[str, Json]:
    rewards = {each.reward: _reward(each, result.trained) for each in changes}
    compared = {each.reward: _comparison(each) for each in changes}
    return {"rewards": rewards, "compare": {result.other: compared}}


def _reward(change: RewardChange, trained: frozenset[str]) -> dict[str, Json]:
    kind: dict[str, Json] = {"trained": change.reward in trained}
    if change.failure:
        nothing = dict.fromkeys(("mean", "low", "high"))
        return {**nothing, "n": 0, **kind, "failure": change.failure}
    known = {"mean": change.end, "low": _known(change.end_low), "high": _known(change.end_high)}
    why = {"no_interval": change.no_end_interval} if change.no_end_interval else {}
    return {**known, "n": change.images, **kind, **why}


def _comparison(change: RewardChange) -> dict[str, Json]:
    """The other's mean, and the paired change from it with its interval and win rate."""
    if change.failure:
        return dict.fromkeys(("mean", "change", "low", "high", "win_rate"))
    why = {"no_interval": change.no_interval} if change.no_interval else {}
    return {
        "mean": change.start,
        "change": change.end - change.start,
        "low": _known(change.low),
        "high": _known(change.high),
        "win_rate": change.win_rate,
        **why,
    }


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _cells(change: RewardChange) -> tuple[Text | str, ...]:
    if change.failure:
        return ("failed", "", "", change.failure, "", "0")
    return (
        f"{change.start:.3f}",
        f"{change.end:.3f}",
        _coloured(change),
        change.no_interval or f"{_signed(change.low)} … {_signed(change.high)}",
        f"{100 * change.win_rate:.0f} %",
        str(change.images),
    )


def _coloured(change: RewardChange) -> Text:
    """Green or red only where the interval excludes zero."""
    style = "green" if change.low > 0 else "red" if change.high < 0 else ""
    return Text(_signed(change.end - change.start), style=style)


def _signed(value: float) -> str:
    """``+0.123``; a small change keeps its sign and its size, as in ``-2e-04``."""
    return f"{value:+.3f}" if value == 0.0 or abs(value) >= 5e-4 else f"{value:+.0e}"
