"""Findings about conflicts as a JSON document; its keys are a contract with users' scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from marblecli.conflicts.estimates import LEVEL, MIN_BATCHES
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.conflicts.pairs import PairSummary
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.summaries import DirectionSummary
from marblecli.conflicts.verdict import Verdict
from marblecli.report.conflict_report import ConflictReport
from marblecli.report.document import direction_json, interval_json, or_none, table_json
from marblecli.types import Json


def conflict_document(
    records: Sequence[ConflictRecord], findings: Findings, report: ConflictReport
) -> dict[str, Json]:
    """Everything that was found, and the tables as people see them."""
    views = {name: _directions(summaries) for name, summaries in findings.views.items()}
    return {
        "batches": len(records),
        "rewards": list(findings.rewards),
        "verdict": {"sentences": list(report.verdict), **_verdict(findings.verdict("applied"))},
        "intervals": {"level": LEVEL, "over": "batches", "least_batches": MIN_BATCHES},
        "directions": views["batch"],
        "signal": views["signal"],
        "held_out": views["held-out"],
        "fresh": {"whole": views["fresh"], "signal": views["fresh-signal"]},
        "chance": {
            view: {name: or_none(level) for name, level in levels.items()}
            for view, levels in findings.chance.items()
        },
        "reliability": {
            name: {
                "split_half_cosine": or_none(facts.reliability.value),
                "interval": interval_json(facts.reliability),
            }
            for name, facts in findings.rewards.items()
        },
        "gradients": {name: _gradient(facts) for name, facts in findings.rewards.items()},
        "without_images": list(findings.without_images),
        "pairs": [_pair(pair) for pair in findings.pairs],
        "step_value": None if report.value is None else report.value.document,
        "slices": {name: _directions(summaries) for name, summaries in findings.slices.items()},
        "tables": [
            table_json(table)
            for table in (
                report.directions,
                report.rewards,
                report.pairs,
                *(() if report.value is None else report.value.tables),
                *report.details,
            )
        ],
    }


def _directions(summaries: Mapping[str, DirectionSummary]) -> dict[str, Json]:
    return {name: direction_json(summary) for name, summary in summaries.items()}


def _verdict(verdict: Verdict) -> dict[str, Json]:
    return {
        "direction": verdict.direction,
        "judged_by": verdict.view,
        "batches": verdict.batches,
        "conflicting": list(verdict.conflicting),
        "agreeing": list(verdict.agreeing),
        "not_significant": list(verdict.not_significant),
    }


def _gradient(facts: RewardFacts) -> dict[str, Json]:
    return {
        "images": or_none(facts.images),
        "norm": or_none(facts.norm.value),
        "pull_share": or_none(facts.pull_share.value),
        "intervals": {
            "norm": interval_json(facts.norm),
            "pull_share": interval_json(facts.pull_share),
        },
    }


def _pair(pair: PairSummary) -> dict[str, Json]:
    return {
        "first": pair.first,
        "second": pair.second,
        "batches": pair.batches,
        "fought_share": or_none(pair.conflict_share.value),
        "cosine_mean": or_none(pair.cosine.value),
        "corrected_cosine": or_none(pair.corrected.value),
        "verdict": pair.verdict,
        "intervals": {
            "fought_share": interval_json(pair.conflict_share),
            "cosine_mean": interval_json(pair.cosine),
            "corrected_cosine": interval_json(pair.corrected),
        },
    }
