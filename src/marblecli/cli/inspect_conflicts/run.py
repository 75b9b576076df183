"""What ``marble inspect-conflicts`` does with a run directory, and with any measured batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marblecli.cli.method_text import parse_method
from marblecli.conflicts.findings import find
from marblecli.conflicts.judge import Direction
from marblecli.conflicts.pass_value import StepValue, value_of_halves
from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.maths.passes import step_passes
from marblecli.methods.checks import resolved
from marblecli.methods.host import find_method
from marblecli.report.conflict_document import conflict_document
from marblecli.report.conflict_report import Subject, conflict_report, show_report
from marblecli.report.document import print_document
from marblecli.report.render import log
from marblecli.runs.pages import CONFLICTS_FILE, check_page, write_page
from marblecli.runs.run import Run
from marblecli.runs.run_balance import RunBalance
from marblecli.settings import BalanceSettings

_RECORDED = ("applied", "update", "weighted-sum")
"""Directions whose cosines the records hold."""
_BASELINES = ("equal", "marble")
"""Methods that are judged where the user names none."""


@dataclass(frozen=True)
class InspectOptions:
    """What the user asked for."""

    methods: tuple[str, ...] = ()
    details: bool = False
    show_all: bool = False
    as_json: bool = False
    html: Path | None = None


@dataclass(frozen=True)
class Inspected:
    """What is judged and shown."""

    records: Sequence[ConflictRecord]
    directions: Sequence[Direction]
    title: str
    value: StepValue | None
    """What a step buys, where that is known."""


def inspect_run(run_dir: Path, options: InspectOptions, *, default_html: bool = False) -> None:
    """Read, judge, print. Raises BadInputError for an unusable run directory or method.

    ``default_html``: write the page to the run directory where the options name no file.
    """
    run = Run(run_dir)
    records = run.conflicts()
    html = options.html or (run_dir / CONFLICTS_FILE if default_html else None)
    directions = make_directions(_balance_of(run), options.methods)
    present(Inspected(records, directions, str(run_dir), _value_of(run, records)), options, html)


def make_directions(run: RunBalance | None, methods: Sequence[str]) -> list[Direction]:
    """The recorded directions, then those of ``methods`` or, where none is named, the usual ones.

    Raises BadInputError for an unknown method.
    """
    weights = {} if run is None else run.loss_weights
    settings = {
        "applied": None if run is None else run.settings,
        "update": None,
        "weighted-sum": BalanceSettings(method="weighted-sum"),
    }
    names = methods or [
        name
        for name in _BASELINES
        if run is None or run.settings != resolved(BalanceSettings(method=name))
    ]
    for name in names:
        if name not in settings:
            settings[name] = parse_method(name, _RECORDED)
    return [Direction(name, balance, weights) for name, balance in settings.items()]


def present(inspected: Inspected, options: InspectOptions, html: Path | None) -> None:
    """Judge the batches, print what was found, and write it to ``html`` if that is a file."""
    if html is not None:
        check_page(html)
    records, directions = inspected.records, inspected.directions
    findings = find(records, directions)
    applied = next(each.balance for each in directions if each.name == "applied")
    asked = [each.name for each in directions if each.name in options.methods]
    subject = Subject(
        inspected.title,
        method=None if applied is None else applied.method,
        named=tuple(name for name in asked if name != "applied"),
        value=inspected.value,
    )
    report = conflict_report(subject, records, findings)
    if html is not None:
        # Only a page needs the library that draws it.
        from marblecli.report.conflict_page import conflict_page
        from marblecli.report.page import render_page

        write_page(html, render_page(conflict_page(records, findings, report)))
        log.print(f"report: {html}", markup=False, soft_wrap=True)
    if options.as_json:
        print_document(conflict_document(records, findings, report))
    else:
        show_report(report, details=options.details, show_all=options.show_all)


def _balance_of(run: Run) -> RunBalance | None:
    """The run's own method; None, with a line that says why, if it can't be replayed."""
    try:
        return run.balance()
    except BadInputError as error:
        log.print(f"The applied direction isn't judged on held-out halves: {error}", markup=False)
        return None


def _value_of(run: Run, records: Sequence[ConflictRecord]) -> StepValue | None:
    """What a step of the run buys; None if its recipe can't be read, or if it wasn't measured."""
    try:
        recipe = run.recipe(lambda _name, _options: [])
    except BadInputError:
        return None
    balance = recipe.balance
    methods = [balance.method, *(phase.method for phase in balance.phases)]
    if any(find_method(name).needs.rows != "batch" for name in methods):
        return None
    own = value_of_halves(records, step_passes(recipe))
    images = recipe.sampling.prompts_per_step * recipe.sampling.group_size
    return None if own is None else StepValue(own, images)
