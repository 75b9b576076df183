"""Findings about conflicts -> the tables that ``marble inspect-conflicts`` shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from marblecli.conflicts.chance import share_by_chance
from marblecli.conflicts.columns import by_name, reward_names
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.summaries import DirectionSummary
from marblecli.report.chance_notes import reward_level, unusual_levels, usual_level
from marblecli.report.pair_notes import pair_notes
from marblecli.report.sentences import counted, images_note
from marblecli.report.tables import Cell, Column, Judged, MeanCosine, Table

_VIEWS = {
    "batch": "own batch",
    "signal": "own batch's signal",
    "held-out": "held-out half",
    "fresh-signal": "fresh images",
}
"""The views of the first tables, and what people call them."""
_OWN = {"batch": 1, "signal": 3}
"""How soon a narrow screen leaves out the columns of a batch's own gradients, which flatter."""
_DETAILS = {
    "batch": "the own batch",
    "signal": "the signal of the own batch",
    "held-out": "held-out halves, solved on one half and judged by the signal of the other",
    "fresh-signal": "fresh images, judged by their signal",
    "fresh": "the whole gradient of fresh images, with its pull towards the old policy",
}


def directions_table(findings: Findings) -> Table:
    """How every direction treats the reward that it treats worst."""
    views = {view: title for view, title in _VIEWS.items() if _measured(findings.views[view])}
    counts = {view: max(s.batches for s in findings.views[view].values()) for view in views}
    rows: list[tuple[Cell, ...]] = []
    for name in findings.views["batch"]:
        summaries = [findings.views[view][name] for view in views]
        if any(summary.batches for summary in summaries):
            rows.append((name, *map(_worst, summaries)))
    return Table(
        title="Worst reward's mean cosine; share of batches in conflict",
        columns=(
            Column("direction", "text"),
            *(
                Column(
                    title,
                    "estimate",
                    counted(counts[view], "batch", "batches"),
                    detail=2 if view == "signal" else 0,
                    chance=usual_level(findings, view),
                )
                for view, title in views.items()
            ),
        ),
        rows=tuple(rows),
        notes=unusual_levels(findings, views),
        explanation=(
            "Each cell is about the reward that the direction treats worst: its mean cosine with "
            "the direction, the share of batches in which some reward's cosine is below 0, and the "
            "95 % interval of the mean over batches. By chance is the share that gradients without "
            "anything in common would show. Compare directions on held-out halves and on fresh "
            "images, which no direction was solved on."
        ),
    )


def rewards_table(findings: Findings, direction: str = "applied") -> Table:
    """What each reward's gradient is made of, and how ``direction`` treats the reward."""
    views = {
        view: title for view, title in _VIEWS.items() if findings.views[view][direction].batches
    }
    rows = [
        (
            _labelled(name, findings),
            None if np.isnan(facts.images) else round(facts.images),
            facts.norm.value,
            facts.pull_share.value,
            MeanCosine(facts.reliability),
            *(
                MeanCosine(findings.views[view][direction].per_reward[name].cosine)
                for view in views
            ),
        )
        for name, facts in findings.rewards.items()
    ]
    return Table(
        title=f"Each reward's gradient, and its mean cosine with the {direction} direction",
        columns=(
            Column("reward", "text"),
            Column("images", "count", detail=3),
            Column("norm", "number", detail=3),
            Column("pull", "share", detail=2),
            Column("split halves", "estimate"),
            *(Column(title, "estimate", detail=_OWN.get(view, 0)) for view, title in views.items()),
        ),
        rows=tuple(rows),
        explanation=(
            "images: the mean number of images of a batch that the reward scored. pull: the length "
            "of the pull towards the old policy over that of the whole gradient. split halves: the "
            "cosine between the gradients of a batch's two halves; 0 is all noise. Then "
            f"the mean cosine of the reward with the {direction} direction."
        ),
        notes=images_note(findings.without_images),
    )


def pairs_table(findings: Findings) -> Table:
    """Which rewards conflict, the surest conflict first."""
    return Table(
        title="Which rewards conflict: the cosine between two rewards' gradients",
        columns=(
            Column("pair", "text"),
            Column("single batches", "estimate", chance=share_by_chance(1)),
            Column("verdict, without noise", "verdict"),
        ),
        rows=tuple(
            (
                f"{pair.first} - {pair.second}",
                MeanCosine(pair.cosine, pair.conflict_share.value),
                Judged(pair.verdict, pair.corrected),
            )
            for pair in findings.pairs
        ),
        explanation=(
            "single batches: the mean of what each batch shows, and the share of batches below 0. "
            "The verdict is about the cosine between what two rewards' gradients share across "
            "prompts, without their noise; it is not significant where the 95 % interval includes "
            "0, or where the split halves of one of the rewards are noise."
        ),
        notes=pair_notes(findings.pairs),
    )


def detail_tables(findings: Findings, sliced: Sequence[str]) -> tuple[Table, ...]:
    """Every reward with every direction in every view, then slice by slice.

    ``sliced`` names the directions that are shown by prompt source and noise level too.
    """
    views = [
        _by_reward(
            findings,
            f"Mean cosine; share of batches in conflict: {title}",
            summaries,
            {name: reward_level(findings, view, name) for name in summaries},
        )
        for view, title in _DETAILS.items()
        if (summaries := _measured(findings.views[view]))
    ]
    slices = [
        _by_reward(
            findings,
            f"Mean cosine; share of batches in conflict: the signal of a part of the batch, with "
            f"the direction {direction}",
            summaries,
            dict.fromkeys(summaries, reward_level(findings, "signal", direction)),
        )
        for direction in sliced
        if (summaries := _measured({n: each[direction] for n, each in findings.slices.items()}))
    ]
    return (*views, *slices)


def batches_table(records: Sequence[ConflictRecord], findings: Findings) -> Table:
    """Each batch's cosines with the direction that was applied."""
    names = reward_names(records)
    rows: list[tuple[Cell, ...]] = []
    for record in records:
        applied = _recorded(record, names, "applied")
        against = [name for name, value in zip(names, applied, strict=True) if value < 0.0]
        least, weighted = _least(applied), _least(_recorded(record, names, "weighted-sum"))
        rows.append((record.step, *applied, least, weighted, ", ".join(against)))
    return Table(
        title="Cosine of each reward's gradient with the applied direction, batch by batch",
        columns=(
            Column("step", "count"),
            *(Column(name, "cosine") for name in names),
            Column("worst", "cosine"),
            Column("worst of weighted-sum", "cosine", detail=1),
            Column("in conflict", "text", detail=2),
        ),
        rows=tuple(rows),
        notes=images_note(findings.without_images),
    )


def _measured(summaries: Mapping[str, DirectionSummary]) -> dict[str, DirectionSummary]:
    return {name: summary for name, summary in summaries.items() if summary.batches}


def _worst(summary: DirectionSummary) -> MeanCosine | None:
    worst = summary.worst_reward
    if worst is None:
        return None
    return MeanCosine(summary.per_reward[worst].cosine, summary.conflict_share.value, worst)


def _by_reward(
    findings: Findings,
    title: str,
    columns: Mapping[str, DirectionSummary],
    levels: Mapping[str, float | None],
) -> Table:
    """``levels`` are the columns' shares of batches by chance."""
    rows: list[tuple[Cell, ...]] = []
    for name in findings.rewards:
        rewards = [summary.per_reward[name] for summary in columns.values()]
        cells = (MeanCosine(each.cosine, each.conflict_share.value) for each in rewards)
        rows.append((_labelled(name, findings), *cells))
    return Table(
        title=title,
        columns=(
            Column("reward", "text"),
            *(Column(name, "estimate", chance=levels[name]) for name in columns),
        ),
        rows=tuple(rows),
    )


def _labelled(name: str, findings: Findings) -> str:
    return f"{name} (scored no image)" if name in findings.without_images else name


def _recorded(record: ConflictRecord, names: Sequence[str], direction: str) -> list[float]:
    cosines = record.cosines.get(direction, (None,) * len(record.rewards))
    found: list[float] = by_name(record, names, cosines).tolist()
    return found


def _least(cosines: Sequence[float]) -> float | None:
    there = [value for value in cosines if not np.isnan(value)]
    return min(there, default=None)
