"""Everything that ``marble inspect-conflicts`` shows of a run, whatever it is drawn on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from marblecli.conflicts.findings import Findings
from marblecli.conflicts.pass_value import StepValue
from marblecli.conflicts.record import ConflictRecord
from marblecli.report.advice import advice
from marblecli.report.conflicts import (
    batches_table,
    detail_tables,
    directions_table,
    pairs_table,
    rewards_table,
)
from marblecli.report.headline import headline
from marblecli.report.pass_value import ValueReport, value_report
from marblecli.report.render import out
from marblecli.report.sentences import (
    images_note,
    measured_sentence,
    notes,
    verdict_sentences,
)
from marblecli.report.tables import Table
from marblecli.report.terminal import say, show

SHOWN_BATCHES = 20
"""The most batches that a terminal shows without ``--all``: the last ones."""
SHOWN_PAIRS = 10
"""The most pairs of rewards that a terminal shows without ``--details``."""


@dataclass(frozen=True)
class Subject:
    """What is inspected."""

    title: str
    """The run directory or recipe, as the user named it."""
    method: str | None = None
    """The method of the applied direction, if it is known."""
    named: tuple[str, ...] = ()
    """The directions that the user asked for, besides the applied one."""
    value: StepValue | None = None
    """What a step buys, where that is known."""


@dataclass(frozen=True)
class ConflictReport:
    """The sentences and tables of a run."""

    title: str
    verdict: tuple[str, ...]
    """The answer in one sentence, and what it rests on: whether the step conflicts with a reward on
    data that it wasn't solved on. Then what to do, and the same of the directions that the user
    named."""
    measured: str
    """What the records hold."""
    directions: Table
    rewards: Table
    pairs: Table
    details: tuple[Table, ...]
    batches: Table
    notes: tuple[str, ...]
    value: ValueReport | None = None
    """What a step buys."""


def conflict_report(
    subject: Subject, records: Sequence[ConflictRecord], findings: Findings
) -> ConflictReport:
    """Describe what was found in the ``records``, of which there is at least one."""
    return ConflictReport(
        title=subject.title,
        verdict=_verdict(subject, findings, len(records)),
        measured=measured_sentence(subject.title, records, subject.method),
        directions=directions_table(findings),
        rewards=rewards_table(findings),
        pairs=pairs_table(findings),
        details=detail_tables(findings, ["applied", *subject.named]),
        batches=batches_table(records, findings),
        notes=tuple(notes(records, findings)),
        value=None if subject.value is None else value_report(subject.value),
    )


def show_report(report: ConflictReport, *, details: bool, show_all: bool) -> None:
    """Print the report: the verdict first, then the tables.

    ``details`` adds every reward with every direction, and ``show_all`` every batch.
    """
    for sentence in report.verdict:
        say(sentence, style="bold" if sentence == report.verdict[0] else None)
    out.print()
    say(report.measured)
    _show_table(report.directions)
    _show_table(report.rewards)
    _show_pairs(report.pairs, show_all=details)
    if report.value is not None:
        _show_value(report.value)
    if details:
        for table in report.details:
            _show_table(table)
    if details or show_all:
        _show_batches(report.batches, show_all=show_all)
    out.print()
    for note in report.notes:
        say(note)
    if not details:
        say("--details shows every reward with every direction, source and noise level.")


def _verdict(subject: Subject, findings: Findings, batches: int) -> tuple[str, ...]:
    step = "the step" if subject.method is None else f"the step ({subject.method})"
    sentences = [headline(findings, batches)]
    sentences += verdict_sentences(findings.verdict("applied"), step)
    sentences += images_note(findings.without_images)
    sentences.append(advice(findings, subject.method))
    for name in subject.named:
        sentences += verdict_sentences(findings.verdict(name), f"the direction of {name}")
    return tuple(sentences)


def _show_table(table: Table) -> None:
    out.print()
    show(table)


def _show_value(value: ValueReport) -> None:
    out.print()
    for sentence in value.sentences:
        say(sentence)
    for table in value.tables:
        _show_table(table)


def _show_pairs(pairs: Table, *, show_all: bool) -> None:
    if not pairs.rows:
        return
    _show_table(pairs if show_all else pairs.first(SHOWN_PAIRS))
    hidden = len(pairs.rows) - SHOWN_PAIRS
    if hidden > 0 and not show_all:
        say(f"{hidden} pairs less in conflict are left out; --details shows them.")


def _show_batches(batches: Table, *, show_all: bool) -> None:
    _show_table(batches if show_all else batches.last(SHOWN_BATCHES))
    hidden = len(batches.rows) - SHOWN_BATCHES
    if hidden > 0 and not show_all:
        say(f"{hidden} earlier batches are left out; --all shows them.")
