"""The page of one run: curves, pictures, conflicts, time, recipe and environment."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from marblecli.report.charts import Row, amount_rows
from marblecli.report.conflict_page import conflict_sections
from marblecli.report.conflict_report import ConflictReport, Subject, conflict_report
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
from marblecli.report.sentences import counted
from marblecli.types import Json

_HELD_OUT = "held-out"


def run_page(run: RunData) -> Page:
    """Everything that is known of the run; what is missing is named."""
    by_step = changes_by_step(run.evaluations)
    conflicts = _conflict_report(run)
    sections = (
        _final_section(by_step),
        curve_section(run, by_step),
        _picture_section(run),
        *_conflict_sections(run, conflicts),
        _time_section(run.metrics),
        _recipe_section(run),
        _environment_section(run),
    )
    return Page(
        title=f"Run: {run.title}",
        verdict=(verdict_of(run, by_step), *(conflicts.verdict[:1] if conflicts else ())),
        measured=_measured(run, by_step),
        sections=tuple(section for section in sections if section is not None),
        notes=conflicts.notes if conflicts else (),
        missing=tuple(run.missing),
    )


def verdict_of(run: RunData, by_step: Mapping[int, Changes]) -> str:
    """The run in one sentence, by its last evaluation: of held-out prompts if there are any."""
    pairs = run.conflicts.findings.pairs if run.conflicts else ()
    if not by_step:
        return run_verdict(run.steps_done, (), pairs, "")
    step, changes = list(by_step.items())[-1]
    split = _HELD_OUT if changes.get(_HELD_OUT) else next(iter(changes), _HELD_OUT)
    where = {"train": "training"}.get(split, split)
    return run_verdict(step, changes.get(split, ()), pairs, where)


def _measured(run: RunData, by_step: Mapping[int, Changes]) -> str:
    planned = run.steps_planned
    steps = counted(run.steps_done, "optimizer step", "optimizer steps")
    if planned is not None and run.steps_done < planned:
        steps = f"{run.steps_done} of {planned} optimizer steps so far"
    method = f", method {run.method}" if run.method else ""
    shown = f", of which {len(by_step)} are shown" if 1 < len(by_step) < _count(run) else ""
    return (
        f"{steps}{method}; {counted(_count(run), 'evaluation', 'evaluations')} of trained "
        f"weights{shown}. Evaluations are of the weights' moving average, without guidance."
    )


def _count(run: RunData) -> int:
    return sum(each.subject != "base" for each in run.evaluations)


def _final_section(by_step: Mapping[int, Changes]) -> Section | None:
    if not by_step:
        return None
    step, changes = list(by_step.items())[-1]
    order = sorted(changes, key=lambda split: split != _HELD_OUT)
    tables = [changes_table(split, step, changes[split]) for split in order if changes[split]]
    return Section(
        "What every reward did",
        "An arrow marks a change whose 95 % interval doesn't include 0.",
        tables=tuple(tables),
        beside=True,
    )


def _picture_section(run: RunData) -> Section | None:
    if not run.galleries:
        return None
    return Section("Pictures over time", galleries=tuple(run.galleries))


def _conflict_report(run: RunData) -> ConflictReport | None:
    if run.conflicts is None:
        return None
    subject = Subject(run.title, run.method)
    return conflict_report(subject, run.conflicts.records, run.conflicts.findings)


def _conflict_sections(run: RunData, report: ConflictReport | None) -> tuple[Section, ...]:
    if run.conflicts is None or report is None:
        return ()
    return conflict_sections(run.conflicts.records, run.conflicts.findings, report)


def _time_section(metrics: Sequence[Mapping[str, Json]]) -> Section | None:
    timed = [line for line in metrics if "seconds" in line]
    if not timed:
        return None
    steps = [line["step"] for line in timed]
    names = list(phase_totals(timed))
    rows = [Row("whole step", [line["seconds"] for line in timed])]
    if len(names) > 1:
        rows += [Row(name, [line.get("phases", {}).get(name) for line in timed]) for name in names]
    whole = math.fsum(line["seconds"] for line in timed)
    title = "Seconds of every optimizer step"
    return Section(
        "Where the time went",
        f"{counted(len(timed), 'optimizer step', 'optimizer steps')} took {duration(whole)}, the "
        f"median step {median_seconds(timed):.3g} s. Evaluations and checkpoints aren't counted."
        + ("" if len(names) > 1 else " The phases of the steps weren't timed."),
        charts=(Chart(title, amount_rows(title, rows, steps), "The number is the mean."),),
        tables=(time_table(timed),) if len(names) > 1 else (),
    )


def duration(seconds: float) -> str:
    """``45 s``, ``3 min 20 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _recipe_section(run: RunData) -> Section | None:
    if not run.recipe:
        return None
    return Section(
        "Recipe",
        tables=(facts_table("Recipe", recipe_facts(run.recipe)),),
        source=run.recipe_text,
    )


def _environment_section(run: RunData) -> Section | None:
    if not run.environment:
        return None
    facts = environment_facts(run.environment)
    return Section("Environment", tables=(facts_table("Environment", facts),), folded=True)
