"""What is shown of a lab: one page, one Markdown text, one JSON document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property

from marblecli.lab.compare import SPLITS, Comparison, compare
from marblecli.lab.figures import (
    curve_charts,
    distance_chart,
    harmony_charts,
    pareto_charts,
    sample_chart,
)
from marblecli.lab.measures import Measures, cell_measures, measures_of
from marblecli.lab.paths import Waypoint, at_distance, common_distance, path_of
from marblecli.lab.results import Results
from marblecli.lab.samples import SampleFigure, sample_figure
from marblecli.lab.tables import (
    differences_table,
    equal_distance_table,
    gains_table,
    shares_table,
    specialists_table,
    units_table,
    wins_table,
)
from marblecli.report.cells import signed
from marblecli.report.markdown import as_markdown
from marblecli.report.page import Page, Section, table_section
from marblecli.report.tables import Table
from marblecli.types import Json


@dataclass(frozen=True)
class Findings:
    """Everything that is shown of a lab."""

    title: str
    results: Results
    comparison: Comparison
    measures: Mapping[str, Measures]

    @cached_property
    def paths(self) -> Mapping[str, Sequence[Waypoint]]:
        """Of every method that trains several rewards; of the specialists if there is no other."""
        found = self.comparison
        together = [each.method for each in found.methods if not each.is_specialist]
        return {
            name: path_of(
                self.results.methods[name], found.rewards, found.split, found.units.by_reward
            )
            for name in together or self.results.methods
        }

    @cached_property
    def samples(self) -> SampleFigure | None:
        """What the base model's images teach."""
        bases = {cell.cell.seed: cell.base for cell in self.results.cells}
        return sample_figure(list(bases.values()), self.comparison.rewards)

    @property
    def at_equal_distance(self) -> Mapping[str, Waypoint]:
        """Each method where it is as far from the base model as the nearest one at its end."""
        distance = common_distance(self.paths)
        if distance is None:
            return {}
        found = {name: at_distance(path, distance) for name, path in self.paths.items()}
        return {name: each for name, each in found.items() if each is not None}


def find(title: str, results: Results, reference: str | None = None) -> Findings:
    """Compare the finished cells. Raises BadInputError if their evaluations can't be paired."""
    pairs = {
        name: {cell.cell.seed: (cell.base, cell.last) for cell in cells}
        for name, cells in results.methods.items()
    }
    found = compare(pairs, results.rewards, reference)
    measures = {
        name: measures_of(
            [cell_measures(c.metrics, c.conflicts, c.last, found.split) for c in cells]
        )
        for name, cells in results.methods.items()
    }
    return Findings(title, results, found, measures)


def tables_of(findings: Findings) -> list[Table]:
    """All tables, the most important ones first."""
    found = findings.comparison
    tables = [shares_table(found, findings.measures)]
    if findings.at_equal_distance:
        tables.append(equal_distance_table(findings.at_equal_distance, found.split))
    if found.differences:
        tables.append(differences_table(found))
    wins = wins_table(found)
    splits = [s for s in SPLITS if any(s in each.gains for each in found.methods)]
    return [
        *tables,
        *([wins] if wins is not None else []),
        *(gains_table(found, split) for split in splits),
        units_table(found),
    ]


def verdict(findings: Findings) -> tuple[str, ...]:
    """Which method serves its worst-off reward best, and which has the best mean."""
    found = findings.comparison
    methods = [each for each in found.methods if not each.is_specialist]
    if not methods:
        return ("There are only specialists: nothing is compared.",)
    best, *others = sorted(methods, key=lambda each: -each.worst.value)
    mean = max(methods, key=lambda each: each.mean.value)
    over = ""
    if others:
        won, seeds = found.wins[best.method, others[0].method]
        over = f" In {won} of {seeds} seeds its worst share is above that of {others[0].method}."
    return (
        f"{best.method} serves its worst-off reward best: {best.worst_reward} gains a share of "
        f"{signed(best.worst.value)}.{over} The best mean share is that of {mean.method}, "
        f"{signed(mean.mean.value)}.",
        found.units.reason,
    )


def page(findings: Findings) -> Page:
    """The page of the lab."""
    found = findings.comparison
    sections = [table_section(table) for table in tables_of(findings)]
    charts = pareto_charts(found)
    distance = distance_chart(findings.paths)
    figures = [
        Section(
            "Which method serves whom",
            "Thin lines are 95 % intervals. Up and to the right is better.",
            charts=(*charts, *([distance] if distance else [])),
        ),
        Section(
            "Learning curves",
            "Means over the seeds. Above: the gain since the base model, on "
            f"{found.split} prompts. Below: the mean score of the training batches, over five.",
            charts=curve_charts(findings.results, findings.paths),
        ),
        *_samples_section(findings.samples),
        Section(
            "Harmony: cosines of the applied direction with each reward, by batch",
            "With the gradients of the batch that the direction was made of: up is agreement, down "
            "and hatched is conflict. Means over the seeds; they flatter every method, as the "
            "direction has been fitted to the batch's noise, too.",
            charts=harmony_charts(findings.results),
        ),
    ]
    return Page(
        title=findings.title,
        verdict=verdict(findings),
        measured=f"{len(findings.results.cells)} finished runs: "
        + ", ".join(f"{each.method} ({len(each.seeds)})" for each in found.methods)
        + ", with their numbers of seeds.",
        sections=(*sections[:1], *figures, *sections[1:]),
        missing=tuple(f"{name} isn't finished." for name in findings.results.missing),
    )


def markdown(findings: Findings) -> str:
    """The tables, for a page of documentation."""
    tables = tables_of(findings)
    if findings.samples is not None:
        tables.append(specialists_table(findings.samples))
    return "\n".join(["\n\n".join(verdict(findings)) + "\n", *map(as_markdown, tables)])


def document(findings: Findings) -> dict[str, Json]:
    """All numbers, for scripts."""
    found = findings.comparison
    return {
        "title": findings.title,
        "rewards": list(found.rewards),
        "split": found.split,
        "units": asdict(found.units),
        "reference": found.reference,
        "methods": {
            each.method: {**asdict(each), "measures": asdict(findings.measures[each.method])}
            for each in found.methods
        },
        "differences": {each.method: asdict(each) for each in found.differences},
        "wins": [
            {"method": one, "over": other, "won": won, "seeds": seeds}
            for (one, other), (won, seeds) in found.wins.items()
        ],
        "paths": {name: [asdict(w) for w in path] for name, path in findings.paths.items()},
        "at_equal_distance": {n: asdict(w) for n, w in findings.at_equal_distance.items()},
        "cells": [
            {
                "name": cell.cell.name,
                "method": cell.cell.method,
                "seed": cell.cell.seed,
                "overrides": list(cell.cell.overrides),
            }
            for cell in findings.results.cells
        ],
        "missing": list(findings.results.missing),
    }


def _samples_section(figure: SampleFigure | None) -> list[Section]:
    if figure is None:
        return []
    return [
        Section(
            "Which images teach which rewards",
            "The mean size of the advantages of the base model's images on training prompts, by "
            "reward and prompt source, in standard deviations of the reward: where it is small, "
            "images of the source say little about the reward.",
            charts=(sample_chart(figure),),
            tables=(specialists_table(figure),),
        )
    ]
