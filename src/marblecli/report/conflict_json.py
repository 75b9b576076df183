"""Findings about conflicts as JSON; its keys are a contract with users' scripts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from marblecli.conflicts.estimates import LEVEL, MIN_BATCHES, Estimate
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.conflicts.vectors import DirectionSummary, PairSummary
from marblecli.report.render import or_none
from marblecli.types import ConflictRecord, Json

if TYPE_CHECKING:
    Summaries = Mapping[str, DirectionSummary]


def conflict_document(records: Sequence[ConflictRecord], findings: Findings) -> Json:
    """Everything that was found; null where there is no number."""
    views = {name: _directions(summaries) for name, summaries in findings.views.items()}
    return {
        "batches": len(records),
        "rewards": list(findings.rewards),
        "intervals": {"level": LEVEL, "over": "batches", "least_batches": MIN_BATCHES},
        "directions": views["batch"],
        "signal": views["signal"],
        "held_out": views["held-out"],
        "fresh": {"whole": views["fresh"], "signal": views["fresh-signal"]},
        "reliability": {
            name: {
                "split_half_cosine": or_none(facts.reliability.value),
                "interval": _interval(facts.reliability),
            }
            for name, facts in findings.rewards.items()
        },
        "gradients": {name: _gradient(facts) for name, facts in findings.rewards.items()},
        "pairs": [_pair(pair) for pair in findings.pairs],
        "slices": {name: _directions(summaries) for name, summaries in findings.slices.items()},
    }


def _directions(summaries: Summaries) -> dict[str, Json]:
    return {name: direction_json(summary) for name, summary in summaries.items()}


def direction_json(summary: DirectionSummary) -> dict[str, Json]:
    """How a direction treats the rewards."""
    return {
        "batches": summary.batches,
        "fought_share": or_none(summary.fought_share.value),
        "worst_cosine_mean": or_none(summary.worst_cosine.value),
        "worst_reward": summary.worst_reward,
        "intervals": {
            "fought_share": _interval(summary.fought_share),
            "worst_cosine_mean": _interval(summary.worst_cosine),
        },
        "per_reward": {
            name: {
                "fought_share": or_none(reward.fought_share.value),
                "cosine_mean": or_none(reward.cosine.value),
                "cosine_worst": or_none(reward.cosine_worst),
                "intervals": {
                    "fought_share": _interval(reward.fought_share),
                    "cosine_mean": _interval(reward.cosine),
                },
            }
            for name, reward in summary.per_reward.items()
        },
    }


def _gradient(facts: RewardFacts) -> Json:
    return {
        "images": or_none(facts.images),
        "norm": or_none(facts.norm.value),
        "pull_share": or_none(facts.pull_share.value),
        "intervals": {"norm": _interval(facts.norm), "pull_share": _interval(facts.pull_share)},
    }


def _pair(pair: PairSummary) -> Json:
    return {
        "first": pair.first,
        "second": pair.second,
        "batches": pair.batches,
        "fought_share": or_none(pair.fought_share.value),
        "cosine_mean": or_none(pair.cosine.value),
        "corrected_cosine": or_none(pair.corrected.value),
        "verdict": pair.verdict,
        "intervals": {
            "fought_share": _interval(pair.fought_share),
            "cosine_mean": _interval(pair.cosine),
            "corrected_cosine": _interval(pair.corrected),
        },
    }


def _interval(estimate: Estimate) -> Json:
    """[low, high], or null where there is none."""
    bounds = [or_none(estimate.low), or_none(estimate.high)]
    return None if None in bounds else bounds
