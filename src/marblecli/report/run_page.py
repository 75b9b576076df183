"""The page of one run: what it did, in curves, pictures, conflicts, time, recipe and environment."""

from __future__ import annotations

import math
from collections.abc import Sequence

from marblecli.report.charts import Row, amount_rows
from marblecli.report.conflict_page import conflict_sections
from marblecli.report.conflict_report import Subject, conflict_report
from marblecli.report.curve_sections import curve_section
from marblecli.report.evaluated import Changes, changes_by_step
from marblecli.report.page import Chart, Page, Section
from marblecli.report.recipe_facts import environment_facts, recipe_facts
from marblecli.report.run_data import RunData
from marblecli.report.run_tables import (
    changes_table,
    facts_table,
    median_seconds,
    phase_totals,
    time_table,
)
from marblecli.report.run_verdict import run_verdict
from marblecli.report.sentences import counted, pairs_sentence

_HELD_OUT = "held-out"


def run_page(run: RunData) -> Page:
    """Everything that is known of the run; what is missing is named."""
    by_step = changes_by_step(run.evaluations)
    return Page(
        title=f"Run: {run.title}",
        verdict=_verdict(run, by_step),
        measured=_measured(run),
        sections=tuple(
            section
            for section in (
                _final_section(by_step),
                curve_section(run, by_step),
                _picture_section(run),
                *_conflict_sections(run),
                _time_section(run.metrics),
                _recipe_section(run),
                _environment_section(run),
            )
            if section is not None
        ),
        notes=_notes(run),
        missing=tuple(run.missing),
    )


def _verdict(run: RunData, by_step: dict[int, Changes]) -> tuple[str, ...]:
    pairs = run.conflicts.findings.pairs if run.conflicts else ()
    if not by_step:
        return (run_verdict(run.steps_done, (), pairs, ""),)
    step, changes = list(by_step.items())[-1]
    split = _HELD_OUT if changes.get(_HELD_OUT) else next(iter(changes), _HELD_OUT)
    where = {"train": "training"}.get(split, split)
    sentences = [run_verdict(step, changes.get(split, ()), pairs, where)]
    if run.conflicts:
        sentences += _direction_sentences(run)
    return tuple(sentences)


def _direction_sentences(run: RunData) -> list[str]:
    report = _conflict_report(run)
    return [] if report is None else list(report.verdict[:1])


def _conflict_report(run: RunData):
    if run.conflicts is None:
        return None
    subject = Subject(run.title, run.method)
    return conflict_report(subject, run.conflicts.records, run.conflicts.findings)
