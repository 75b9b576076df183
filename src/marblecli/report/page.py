"""What the measured batches of a run tell, as one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template

from marblecli.errors import BadInputError
from marblecli.report.svg import Cell, Row, heat_strips, matrix, small_lines
from marblecli.runs.atomic import explaining_failure, write_text

FILE_NAME = "report.html"


@dataclass(frozen=True)
class ReportTable:
    """A table of text, its first column the rows' names."""

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class ConflictReport:
    """What the page shows; texts are plain."""

    title: str
    summary: tuple[str, ...]
    """Paragraphs."""
    rewards: tuple[str, ...]
    steps: tuple[int, ...]
    """Of the measured batches."""
    fights: Mapping[tuple[int, int], Cell]
    """Who fights whom, by (row, column) of the rewards."""
    balancers: ReportTable
    gradients: ReportTable
    pair_cosines: tuple[Row, ...]
    applied_cosines: tuple[Row, ...]
    weights: tuple[Row, ...]
    """Simplex weights."""
    coefficients: tuple[Row, ...]


def write_report(path: Path, report: ConflictReport) -> None:
    """Write the page whole or not at all.

    Raises BadInputError if there is no such folder, MarbleError if it can't be written.
    """
    if not path.parent.is_dir():
        raise BadInputError(f"{path}: no such folder: {path.parent}")
    if path.is_dir():
        raise BadInputError(f"{path} is a folder: give the name of a file")
    with explaining_failure(path, "give another file after --html"):
        write_text(path, render_report(report))


def render_report(report: ConflictReport) -> str:
    """The page as text."""
    sections = [
        _section(
            "Who fights whom",
            "Below the diagonal: the cosine between what two rewards' gradients share across "
            "prompts, without their noise, and its 95 % interval; grey where it can't be told "
            "from noise. Above it: what single batches show, on average. On it: how far a "
            "reward's own gradient agrees between prompts (split-half cosine).",
            matrix(report.rewards, report.fights),
        ),
        _section(
            "Balancers",
            "The least mean cosine of a reward with the direction, its 95 % interval over "
            "batches, and the share of batches in which some reward is fought. ? = can't be told "
            "from 0. On its own batch marble fights nobody by theorem: compare on held-out halves "
            "and on fresh images, which no balancer has seen.",
            _table(report.balancers),
        ),
        _section(
            "Rewards",
            "What each reward's gradient is made of, and its cosine with the direction that was "
            "applied.",
            _table(report.gradients),
        ),
        _section(
            "Between rewards, over time",
            "Cosines between two rewards' gradients in single batches: red is conflict, blue is "
            "agreement. Rewards score the same images, so a batch alone says little of what lasts.",
            heat_strips(report.pair_cosines, report.steps),
        ),
        _section(
            "With the applied direction, over time",
            "Cosines of every reward's gradient with the direction, on the batch it was made from.",
            heat_strips(report.applied_cosines, report.steps),
        ),
        _section(
            "Weights of the unit gradients, over time",
            "What the balance gave to each reward, whatever the length of its gradient.",
            small_lines(report.weights, report.steps),
        ),
        _section(
            "Coefficients of the losses, over time",
            "The same as factors of the raw losses: small where a reward's gradient is long.",
            small_lines(report.coefficients, report.steps),
        ),
    ]
    summary = "".join(f"<p>{escape(text)}</p>" for text in report.summary)
    return _PAGE.substitute(
        title=escape(report.title), summary=summary, sections="\n".join(sections)
    )


def _section(title: str, text: str, content: str) -> str:
    return (
        f"<section><h2>{escape(title)}</h2><p>{escape(text)}</p>"
        f'<div class="wide">{content}</div></section>'
    )


def _table(table: ReportTable) -> str:
    header = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
    return f"<table><thead><tr>{header}</tr></thead><tbody>{rows}</tbody></table>"


def _cells(row: Sequence[str]) -> str:
    first, *others = (escape(cell).replace("\n", "<br>") for cell in row)
    return f"<th>{first}</th>" + "".join(f"<td>{cell}</td>" for cell in others)


_PAGE = Template(
    """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; background: #fff;
       max-width: 960px; margin: 2em auto; padding: 0 1em; }
h1 { font-size: 1.5em; } h2 { font-size: 1.15em; margin-top: 2em; }
.wide { overflow-x: auto; }
svg { font-family: system-ui, sans-serif; font-size: 12px; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px; }
th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: right; }
th:first-child { text-align: left; font-weight: 600; }
</style>
</head>
<body>
<h1>$title</h1>
$summary
$sections
</body>
</html>
"""
)
