"""What methods make of solved Grams, as tables."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from marblecli.conflicts.summaries import DirectionSummary, summarise
from marblecli.report.cells import cosine
from marblecli.report.tables import Cell, Column, Table, WeightedCosine
from marblecli.types import Balance, FloatArray, GradientStats

if TYPE_CHECKING:
    from marblecli.maths.qp.problem import MinNormSolution


@dataclass(frozen=True)
class Solved:
    """A solution and what is said about it."""

    stats: GradientStats
    balance: Balance
    cosines: FloatArray
    """[K], of each gradient with the combined one; NaN where there is none."""
    certificate: MinNormSolution | None
    """None for methods that solve no QP on this Gram alone."""

    @property
    def worst_cosine(self) -> float:
        """The least cosine; NaN if there is none."""
        return float(np.fmin.reduce(self.cosines, initial=np.nan))

    @property
    def masked(self) -> list[str]:
        """The rewards that were left out because their gradient is zero."""
        columns = zip(self.stats.names, self.stats.usable, strict=True)
        return [name for name, usable in columns if not usable]


@dataclass(frozen=True)
class Failed:
    """A batch that a method can't combine."""

    reason: str


@dataclass(frozen=True)
class Method:
    """What one method makes of every batch."""

    name: str
    """As the user wrote it."""
    batches: tuple[Solved | Failed, ...]


def summary(names: Sequence[str], method: Method) -> DirectionSummary:
    """How the method treats the rewards ``names`` over all batches that it could combine."""
    cosines = np.full((len(method.batches), 1, len(names)), np.nan)
    for row, solved in zip(cosines, method.batches, strict=True):
        if isinstance(solved, Solved):
            row[0, [names.index(name) for name in solved.stats.names]] = solved.cosines
    return summarise(names, cosines)


def solution_table(method: str, solved: Solved) -> Table:
    """What a method makes of one Gram, reward by reward."""
    stats, chosen = solved.stats, solved.balance
    rows = zip(
        stats.names,
        stats.norms.tolist(),
        chosen.simplex_weights.tolist(),
        chosen.coefficients.tolist(),
        solved.cosines.tolist(),
        strict=True,
    )
    return Table(
        title=f"{method}: d = sum of coefficient x gradient",
        columns=(
            Column("reward", "text"),
            Column("gradient norm", "number"),
            Column("simplex weight", "number"),
            Column("coefficient", "number"),
            Column("cosine with d", "cosine"),
        ),
        rows=tuple(rows),
        notes=tuple(_solution_notes(solved)),
    )


def comparison_table(methods: Sequence[tuple[str, Solved]]) -> Table:
    """What several methods make of one Gram; the first is the one that was asked for."""
    names = methods[0][1].stats.names
    labels = _labels([name for name, _ in methods])
    rows: list[tuple[Cell, ...]] = []
    for label, (_, solved) in zip(labels, methods, strict=True):
        cells = zip(solved.cosines.tolist(), solved.balance.simplex_weights.tolist(), strict=True)
        rows.append((label, solved.worst_cosine, *(WeightedCosine(*cell) for cell in cells)))
    return Table(
        title="Methods compared: each reward's cosine with d (simplex weight)",
        columns=(
            Column("method", "text"),
            Column("worst cosine", "cosine"),
            *(Column(name, "weighted") for name in names),
        ),
        rows=tuple(rows),
    )


def batches_table(batches: Sequence[str], names: Sequence[str], method: Method) -> Table:
    """The simplex weights that a method chose, batch by batch."""
    rows: list[tuple[Cell, ...]] = []
    for batch, solved in zip(batches, method.batches, strict=True):
        if isinstance(solved, Failed):
            rows.append((batch, *(None for _ in names), None, None))
            continue
        chosen = solved.balance
        weights = dict(zip(solved.stats.names, chosen.simplex_weights.tolist(), strict=True))
        cells = (weights.get(name) for name in names)
        rows.append((batch, *cells, solved.worst_cosine, chosen.kkt_residual))
    return Table(
        title=f"{method.name}: simplex weights of every batch",
        columns=(
            Column("batch", "text"),
            *(Column(name, "number") for name in names),
            Column("worst cosine", "cosine"),
            Column("KKT residual", "number"),
        ),
        rows=tuple(rows),
    )


def summaries_table(names: Sequence[str], methods: Sequence[Method]) -> Table:
    """How methods treat the rewards over all batches; the first is the one asked for."""
    labels = _labels([method.name for method in methods])
    rows: list[tuple[Cell, ...]] = []
    for label, method in zip(labels, methods, strict=True):
        found = summary(names, method)
        rows.append(
            (
                label,
                found.batches,
                found.conflict_share.value,
                found.worst_cosine.value,
                *(found.per_reward[name].cosine.value for name in names),
            )
        )
    return Table(
        title="Over all batches: mean cosine with d",
        columns=(
            Column("method", "text"),
            Column("batches", "count"),
            Column("in conflict", "share"),
            Column("mean worst cosine", "cosine"),
            *(Column(name, "cosine") for name in names),
        ),
        rows=tuple(rows),
    )


def _solution_notes(solved: Solved) -> list[str]:
    notes = []
    if solved.masked:
        notes.append(f"left out, because the gradient is zero: {', '.join(solved.masked)}")
    notes.append(f"worst cosine: {cosine(solved.worst_cosine)}")
    if np.isnan(solved.cosines).all():
        notes.append("The combined gradient is zero: no direction helps every reward.")
    if solved.certificate is not None:
        notes.append(
            f"certificate: KKT residual {solved.certificate.kkt_residual:.1e}, "
            f"duality gap {solved.certificate.duality_gap:.1e} (0 is optimal)"
        )
    return notes


def _labels(names: Sequence[str]) -> list[str]:
    """Tell the first method from another of its name: floors and priorities are its own."""
    main, *others = names
    return [f"{main} (as asked)" if main in others else main, *others]
