"""What ``marble inspect-conflicts`` does with a run directory, and with any measured batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from marblecli.cli.balancers import parse_balancer
from marblecli.conflicts.estimates import MIN_BATCHES
from marblecli.conflicts.findings import Findings, find
from marblecli.conflicts.views import Direction
from marblecli.errors import BadInputError
from marblecli.methods.balance import check_available
from marblecli.report.conflict_json import conflict_document
from marblecli.report.conflict_report import conflict_report
from marblecli.report.conflict_tables import show_batches, show_details, show_overview
from marblecli.report.page import FILE_NAME, write_report
from marblecli.report.render import log, out
from marblecli.runs.run import Run
from marblecli.runs.run_balance import RunBalance
from marblecli.settings import BalanceSettings
from marblecli.types import ConflictRecord

_RECORDED = ("applied", "update", "weighted-sum")
"""Directions whose cosines the records hold."""
_BASELINES = ("equal", "marble")
"""Balancers that are judged where the user names none."""


@dataclass(frozen=True)
class InspectOptions:
    """What the user asked for."""

    balancers: tuple[str, ...] = ()
    details: bool = False
    show_all: bool = False
    as_json: bool = False
    html: Path | None = None


def inspect_run(run_dir: Path, options: InspectOptions, *, default_html: bool = False) -> None:
    """Read, judge, print. Raises BadInputError for an unusable run directory or balancer.

    ``default_html``: write the page to the run directory where the options name no file.
    """
    run = Run(run_dir)
    records = run.conflicts()
    html = options.html or (run_dir / FILE_NAME if default_html else None)
    directions = make_directions(_balance_of(run), options.balancers)
    present(records, directions, options, str(run_dir), html)


def make_directions(run: RunBalance | None, balancers: Sequence[str]) -> list[Direction]:
    """Those that are recorded, then ``balancers`` or, where none is named, the usual ones.

    Raises BadInputError for an unknown balancer.
    """
    weights = {} if run is None else run.loss_weights
    settings = {
        "applied": None if run is None else run.settings,
        "update": None,
        "weighted-sum": BalanceSettings(method="weighted-sum"),
    }
    names = balancers or [
        name
        for name in _BASELINES
        if run is None or run.settings != BalanceSettings.model_validate({"method": name})
    ]
    for name in names:
        if name not in settings:
            settings[name] = parse_balancer(name, _RECORDED)
    return [Direction(name, balance, weights) for name, balance in settings.items()]


def present(
    records: Sequence[ConflictRecord],
    directions: Sequence[Direction],
    options: InspectOptions,
    title: str,
    html: Path | None,
) -> None:
    """Judge the batches, print what was found, and write it to ``html`` if that is a file."""
    findings = find(records, directions)
    heading = _heading(records, directions, title)
    if html is not None:
        summary = (heading, *_conclusions(records, findings))
        write_report(html, conflict_report(title, summary, records, findings))
        log.print(f"report: {html}", markup=False, soft_wrap=True)
    if options.as_json:
        document = conflict_document(records, findings)
        typer.echo(json.dumps(document, indent=2, allow_nan=False))
        return
    out.print(heading, markup=False, soft_wrap=True)
    show_overview(findings)
    if options.details:
        show_details(findings, ["applied", *options.balancers])
    if options.details or options.show_all:
        show_batches(records, show_all=options.show_all)
    for line in _conclusions(records, findings):
        out.print(line, markup=False)
    if not options.details:
        out.print("--details: every reward with every direction, prompt source and noise level.")


def _balance_of(run: Run) -> RunBalance | None:
    try:
        balance = run.balance()
        if balance is not None:
            check_available(balance.settings)
    except BadInputError as error:
        log.print(f"applied isn't judged on held-out halves: {error}", markup=False)
        return None
    return balance


def _heading(records: Sequence[ConflictRecord], directions: Sequence[Direction], title: str) -> str:
    halves = sum(bool(record.parts) for record in records)
    fresh = sum(record.fresh is not None for record in records)
    steps = sorted(record.step for record in records)
    applied = next(each.balance for each in directions if each.name == "applied")
    method = "" if applied is None else f"; applied is {applied.method}"
    gaps = ", others reuse coefficients" if len(steps) <= steps[-1] - steps[0] else ""
    return (
        f"{title}: {len(records)} measured batches (steps {steps[0]} to {steps[-1]}{gaps}), "
        f"{halves} in halves, {fresh} with fresh images{method}"
    )


def _conclusions(records: Sequence[ConflictRecord], findings: Findings) -> list[str]:
    """What to make of the tables, in sentences."""
    lines = []
    if len(records) < MIN_BATCHES:
        lines.append(f"Fewer than {MIN_BATCHES} batches: no intervals, and nothing can be told.")
    verdicts = Counter(pair.verdict for pair in findings.pairs)
    if verdicts:
        counts = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items())
        lines.append(f"Pairs of rewards: {counts}.")
    halves = any(record.parts for record in records)
    if halves:
        unsure = [n for n, facts in findings.rewards.items() if facts.reliability.sign < 1]
        if unsure:
            lines.append(
                "Different prompts agree no more than noise would on the gradient of "
                f"{', '.join(unsure)} (split halves). More batches tell more; more prompts a step "
                "and larger groups make each tell more."
            )
    caution = (
        "Caution: on its own batch marble fights no reward by theorem, so zero conflict there is "
        "no evidence. "
    )
    if halves:
        caution += (
            "Held-out halves are: solved on one half of a batch's prompts, judged by the signal "
            "of the other."
        )
    else:
        caution += (
            "These records hold nothing else: train with training.gradients = contracted for "
            "held-out halves, with measure.fresh_every above 0 for fresh images."
        )
    return [*lines, caution, "? = its 95 % interval over batches includes 0."]
