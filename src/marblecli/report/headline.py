"""The first sentence about conflicts: which rewards conflict, and whether the step does."""

from __future__ import annotations

import math
from collections.abc import Sequence

from marblecli.conflicts.estimates import MIN_BATCHES
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.pairs import PairSummary
from marblecli.conflicts.summaries import DirectionSummary
from marblecli.report.cells import share
from marblecli.report.pair_notes import named_pairs
from marblecli.report.sentences import EVIDENCE_NAMES, counted, listed


def headline(findings: Findings, batches: int) -> str:
    """Which pairs conflict; then the step and AdamW's update on their own batches.

    A significant conflict of the step on data that it wasn't solved on ends the sentence.
    ``batches`` is the number of records.
    """
    clauses = [_pairs_clause(findings, batches), _own_clause(findings), _evidence_clause(findings)]
    text = "; ".join(filter(None, clauses))
    return f"{text[:1].upper()}{text[1:]}." if text else "Nothing was measured."


def _pairs_clause(findings: Findings, batches: int) -> str:
    pairs = findings.pairs
    if not pairs:
        return ""
    if batches < MIN_BATCHES:
        few = counted(batches, "batch is", "batches are")
        return f"{few} too few to tell whether rewards conflict ({MIN_BATCHES} are the least)"
    if all(pair.verdict == "not measured" for pair in pairs):
        return "whether rewards conflict is unknown, because no batch was measured in halves"
    return _conflicting_pairs(pairs)


def _conflicting_pairs(pairs: Sequence[PairSummary]) -> str:
    found = [pair for pair in pairs if pair.verdict == "conflict"]
    only, many = "the only pair of rewards", f"{len(pairs)} pairs of rewards"
    if not found and len(pairs) == 1:
        return f"{only} has no significant conflict"
    if not found:
        return f"none of {many} has a significant conflict"
    number = only if len(pairs) == 1 else f"{len(found)} of {many}"
    verb = "conflicts" if len(found) == 1 else "conflict"
    return f"{number} {verb}: {named_pairs(found)}"


def _own_clause(findings: Findings) -> str:
    own = findings.views["batch"]
    applied = _in_conflict(own.get("applied"))
    if applied is None:
        return ""
    clause = f"on its own batches the step conflicts with {applied}"
    update = _in_conflict(own.get("update"))
    return clause if update is None else f"{clause}, AdamW's update with {update}"


def _in_conflict(summary: DirectionSummary | None) -> str | None:
    """``no reward``, or ``a reward in 40 % of them``; None where nothing was measured."""
    if summary is None or math.isnan(summary.conflict_share.value):
        return None
    found = summary.conflict_share.value
    return f"some reward in {share(found)} of them" if found else "no reward"


def _evidence_clause(findings: Findings) -> str:
    verdict = findings.verdict("applied")
    if verdict.view is None or not verdict.conflicting:
        return ""
    return (
        f"on {EVIDENCE_NAMES[verdict.view]} the step conflicts with {listed(verdict.conflicting)}"
    )
