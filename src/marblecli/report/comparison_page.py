"""The page of several runs: their curves in the same charts, and paired differences."""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marblecli.errors import BadInputError
from marblecli.report.curve_sections import comparison_section
from marblecli.report.evaluated import Changes, changes_between, changes_by_step
from marblecli.report.page import Page, Section
from marblecli.report.recipe_facts import differences_table
from marblecli.report.run_data import RunData
from marblecli.report.run_page import verdict_of
from marblecli.report.run_tables import as_cell, split_title
from marblecli.report.run_verdict import comparison_verdict
from marblecli.report.tables import Cell, Column, Table
from marblecli.types import EvaluationRecord

_HELD_OUT = "held-out"


def comparison_page(runs: Sequence[RunData]) -> Page:
    """Compare at least two runs. Each has a letter, which stands for it in charts and tables."""
    letters = [letter_of(place) for place in range(len(runs))]
    by_step = [changes_by_step(run.evaluations) for run in runs]
    named = list(zip(letters, runs, by_step, strict=True))
    splits = _common_splits(by_step)
    paired, notes = _paired(letters, runs)
    sections = (
        Section("The runs", tables=(_runs_table(named),)),
        _final_section(letters, by_step, splits),
        _paired_section(letters[0], paired, notes),
        *(comparison_section(named, split) for split in splits[:1]),
        _differences_section(letters, runs),
    )
    return Page(
        title=f"{len(runs)} runs compared",
        verdict=(
            *(_paired_verdict(letters[0], each) for each in paired),
            *(f"{letter}: {verdict_of(run, changes)}" for letter, run, changes in named),
        ),
        measured="Each run has a letter: "
        + "; ".join(f"{letter} is {run.title}" for letter, run, _ in named)
        + ".",
        sections=tuple(section for section in sections if section is not None),
        missing=tuple(f"{letter}: {line}" for letter, run, _ in named for line in run.missing),
    )


def _paired_verdict(first: str, paired: _Paired) -> str:
    split = min(paired.changes, key=_held_out_first)
    where = {"train": "training"}.get(split, split)
    return comparison_verdict(first, paired.letter, paired.changes[split], where)


def letter_of(place: int) -> str:
    """A, B, ... Z, then R27 and so on."""
    letters = string.ascii_uppercase
    return letters[place] if place < len(letters) else f"R{place + 1}"


def _common_splits(by_step: Sequence[Mapping[int, Changes]]) -> list[str]:
    found = dict.fromkeys(
        split for changes in by_step for each in changes.values() for split in each
    )
    return sorted(found, key=_held_out_first)


def _runs_table(named: Sequence[tuple[str, RunData, Mapping[int, Changes]]]) -> Table:
    return Table(
        title="The runs",
        columns=(
            Column("letter", "text"),
            Column("run", "text"),
            Column("method", "text"),
            Column("steps", "count"),
            Column("evaluations", "count"),
        ),
        rows=tuple(
            (letter, run.title, run.method, run.steps_done, len(run.evaluations))
            for letter, run, _ in named
        ),
    )


def _final_section(
    letters: Sequence[str], by_step: Sequence[Mapping[int, Changes]], splits: Sequence[str]
) -> Section | None:
    last = [list(changes.items())[-1] if changes else (0, {}) for changes in by_step]
    tables = []
    for split in splits:
        found = [{c.reward: c for c in changes.get(split, ())} for _, changes in last]
        rewards = dict.fromkeys(name for each in found for name in each)
        rows: list[tuple[Cell, ...]] = [
            (name, *(as_cell(each[name]) if name in each else None for each in found))
            for name in rewards
        ]
        columns = (
            Column(letter, "change", f"step {step}" if step else "")
            for letter, (step, _) in zip(letters, last, strict=True)
        )
        tables.append(
            Table(
                title=f"{split_title(split)}: change since the base model",
                columns=(Column("reward", "text"), *columns),
                rows=tuple(rows),
            )
        )
    if not tables:
        return None
    return Section(
        "Final changes",
        "Of each run's last evaluation, with 95 % intervals. An arrow marks a change whose "
        "interval doesn't include 0.",
        tables=tuple(tables),
        beside=True,
    )


@dataclass(frozen=True)
class _Paired:
    """A run's difference from the first one, on the images that both evaluated."""

    letter: str
    steps: tuple[int, int]
    """Of the first run's evaluation and of this one's."""
    changes: Changes


def _paired(
    letters: Sequence[str], runs: Sequence[RunData]
) -> tuple[tuple[_Paired, ...], tuple[str, ...]]:
    """Every run less the first one; and a line about each that can't be paired with it."""
    found, notes = [], []
    for letter, run in zip(letters[1:], runs[1:], strict=True):
        pair = _evaluations_to_pair(runs[0], run)
        if pair is None:
            notes.append(f"{letter} isn't paired with {letters[0]}: one of them holds no images.")
            continue
        try:
            changes = changes_between(*pair)
        except BadInputError as error:
            notes.append(f"{letter} isn't paired with {letters[0]}: {error}.")
            continue
        if not any(changes.values()):
            notes.append(f"{letter} isn't paired with {letters[0]}: they share no image.")
            continue
        found.append(_Paired(letter, (pair[0].step, pair[1].step), changes))
    return tuple(found), tuple(notes)


def _evaluations_to_pair(
    first: RunData, second: RunData
) -> tuple[EvaluationRecord, EvaluationRecord] | None:
    """The evaluations at the last step that both have; their last ones if there is no such step."""
    one, other = _trained(first), _trained(second)
    if not (one and other):
        return None
    common = one.keys() & other.keys()
    return (one[max(common)], other[max(common)]) if common else (one[max(one)], other[max(other)])


def _trained(run: RunData) -> dict[int, EvaluationRecord]:
    return {each.step: each for each in run.evaluations if each.subject != "base" and each.images}


def _paired_section(first: str, paired: Sequence[_Paired], notes: Sequence[str]) -> Section | None:
    if not (paired or notes):
        return None
    tables = tuple(
        _difference_table(first, each, split)
        for each in paired
        for split in sorted(each.changes, key=_held_out_first)
    )
    text = (
        "Differences of two evaluations, image by image: the same prompts, places and initial "
        "noise, at the last step that both runs evaluated. The 95 % interval is of the paired "
        "difference."
    )
    return Section("Paired differences", " ".join([text, *notes]), tables=tables, beside=True)


def _held_out_first(split: str) -> bool:
    return split != _HELD_OUT


def _difference_table(first: str, paired: _Paired, split: str) -> Table:
    return Table(
        title=f"{split_title(split)}: {paired.letter} less {first}",
        columns=(
            Column("reward", "text"),
            Column(first, "number", f"step {paired.steps[0]}"),
            Column(paired.letter, "number", f"step {paired.steps[1]}"),
            Column("difference", "change", "95 % interval"),
            Column("images", "count"),
        ),
        rows=tuple(
            (each.reward, each.start, each.end, as_cell(each), each.images or None)
            for each in paired.changes[split]
        ),
    )


def _differences_section(letters: Sequence[str], runs: Sequence[RunData]) -> Section | None:
    if any(not run.recipe for run in runs):
        return None
    table = differences_table(letters, [run.recipe for run in runs])
    if not table.rows:
        return Section(table.title, "Their recipes are the same.")
    return Section(table.title, table.explanation, tables=(table,))
