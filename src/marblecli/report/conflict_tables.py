"""Findings about conflicts as tables for people."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from rich.markup import escape
from rich.table import Table

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.vectors import DirectionSummary, PairSummary, by_name, reward_names
from marblecli.report.render import cosine, out, share, table
from marblecli.types import ConflictRecord

SHOWN_BATCHES = 20
"""Batches of the table without ``--all``: the last ones."""
SHOWN_PAIRS = 10
"""Pairs of rewards without ``--details``: those most at odds."""

_VIEWS = {
    "batch": "own batch",
    "signal": "its signal",
    "held-out": "held-out half",
    "fresh-signal": "fresh images",
}
"""Views of the first table, and what people call them; the rewards' table leaves the second out."""
_DETAILS = {
    "batch": "own batch",
    "signal": "signal part of the own batch",
    "held-out": "held-out half: solved on one half, judged by the signal of the other",
    "fresh": "fresh images",
    "fresh-signal": "signal part of fresh images",
}


def show_overview(findings: Findings) -> None:
    """The first screen: directions, rewards, pairs."""
    out.print(_directions_table(findings))
    out.print(_rewards_table(findings))
    if findings.pairs:
        _show_pairs(findings.pairs[:SHOWN_PAIRS])
    hidden = len(findings.pairs) - SHOWN_PAIRS
    if hidden > 0:
        out.print(f"{hidden} pairs less at odds left out; --details shows them.")


def show_details(findings: Findings, sliced: Sequence[str]) -> None:
    """Every reward with every direction in every view, and every pair.

    ``sliced`` names the directions that are shown by prompt source and noise level too.
    """
    for view, title in _DETAILS.items():
        summaries = _measured(findings.views[view])
        if summaries:
            out.print(_rewards_by(title, summaries))
    for direction in sliced:
        by_slice = _measured({name: each[direction] for name, each in findings.slices.items()})
        if by_slice:
            out.print(_rewards_by(f"signal of a part of the batch, with {direction}", by_slice))
    if len(findings.pairs) > SHOWN_PAIRS:
        _show_pairs(findings.pairs)


def show_batches(records: Sequence[ConflictRecord], *, show_all: bool) -> None:
    """The cosines of each batch with the direction that was applied."""
    shown = records if show_all else records[-SHOWN_BATCHES:]
    names = reward_names(shown)
    columns = (*names, "worst", "worst of weighted-sum", "fought")
    batches = table("Cosines of each reward's gradient with the applied direction", "step", columns)
    for record in shown:
        applied = _recorded(record, names, "applied")
        fought = [escape(name) for name, value in zip(names, applied, strict=True) if value < 0.0]
        batches.add_row(
            str(record.step),
            *map(cosine, applied),
            cosine(_least(applied)),
            cosine(_least(_recorded(record, names, "weighted-sum"))),
            ", ".join(fought) or "-",
        )
    out.print(batches)
    if len(shown) < len(records):
        out.print(f"{len(records) - len(shown)} earlier batches left out; --all shows them.")


def interval(estimate: Estimate) -> str:
    """``[-0.10, +0.20]``; nothing where there is none."""
    if math.isnan(estimate.low):
        return ""
    return f"[{estimate.low:+.2f}, {estimate.high:+.2f}]"


def doubtful(estimate: Estimate) -> str:
    """``?`` where the sign can't be told from the interval, nothing where it can."""
    return "" if estimate.sign or math.isnan(estimate.value) else "?"


def least_cosine(summary: DirectionSummary) -> Estimate | None:
    """The mean cosine of the reward that the direction treats worst."""
    worst = summary.worst_reward
    return None if worst is None else summary.per_reward[worst].cosine


def _measured(summaries: Mapping[str, DirectionSummary]) -> dict[str, DirectionSummary]:
    return {name: summary for name, summary in summaries.items() if summary.batches}


def _directions_table(findings: Findings) -> Table:
    views = {view: title for view, title in _VIEWS.items() if _measured(findings.views[view])}
    counts = {view: max(s.batches for s in findings.views[view].values()) for view in views}
    made = table(
        "Is some reward fought? Least mean cosine of one, and share of batches with one below 0",
        "direction",
        [f"{title}\n{counts[view]} batches" for view, title in views.items()],
    )
    for name in findings.views["batch"]:
        summaries = [findings.views[view][name] for view in views]
        if any(summary.batches for summary in summaries):
            made.add_row(escape(name), *map(_direction_cell, summaries))
    return made


def _direction_cell(summary: DirectionSummary) -> str:
    least = least_cosine(summary)
    if least is None:
        return "-"
    return _two_lines(f"{_sure(least)}, {share(summary.fought_share.value)}", least)


def _rewards_table(findings: Findings) -> Table:
    views = {
        view: title
        for view, title in _VIEWS.items()
        if view != "signal" and findings.views[view]["applied"].batches
    }
    made = table(
        "Each reward: pull and split-half cosine of its gradient, and its cosine with applied",
        "reward",
        ("pull", "split halves", *views.values()),
    )
    for name, facts in findings.rewards.items():
        cosines = [findings.views[view]["applied"].per_reward[name].cosine for view in views]
        made.add_row(
            escape(name),
            share(facts.pull_share.value),
            _two_lines(_sure(facts.reliability), facts.reliability),
            *(_two_lines(_sure(each), each) for each in cosines),
        )
    return made


def _rewards_by(title: str, columns: Mapping[str, DirectionSummary]) -> Table:
    made = table(f"Mean cosine (share of batches fought): {title}", "reward", columns)
    for name in next(iter(columns.values())).per_reward:
        rewards = [summary.per_reward[name] for summary in columns.values()]
        made.add_row(
            escape(name), *(_with_share(each.cosine, each.fought_share) for each in rewards)
        )
    return made


def _show_pairs(pairs: Sequence[PairSummary]) -> None:
    columns = ("single batches", "verdict, without noise")
    made = table("Who fights whom: mean cosine of two gradients (share below 0)", "pair", columns)
    for pair in pairs:
        told = f"{pair.verdict} {cosine(pair.corrected.value)}".removesuffix(" -")
        made.add_row(
            escape(f"{pair.first} - {pair.second}"),
            _with_share(pair.cosine, pair.fought_share),
            _two_lines(told, pair.corrected),
        )
    out.print(made)


def _with_share(mean: Estimate, fought: Estimate) -> str:
    if math.isnan(mean.value):
        return "-"
    return f"{_sure(mean)} ({share(fought.value)})"


def _sure(estimate: Estimate) -> str:
    return cosine(estimate.value) + doubtful(estimate)


def _two_lines(text: str, estimate: Estimate) -> str:
    bounds = interval(estimate)
    return f"{text}\n[dim]{escape(bounds)}[/dim]" if bounds else text


def _recorded(record: ConflictRecord, names: Sequence[str], direction: str) -> list[float]:
    cosines = record.cosines.get(direction, (None,) * len(record.rewards))
    found: list[float] = by_name(record, names, cosines).tolist()
    return found


def _least(cosines: Sequence[float]) -> float | None:
    there = [value for value in cosines if not np.isnan(value)]
    return min(there, default=None)
