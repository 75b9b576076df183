"""Write the comparison of a lab, and show its first table."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.lab.grid import Cell
from marblecli.lab.page import document, find, markdown, page, tables_of
from marblecli.lab.recipe import LabRecipe, rewards_of
from marblecli.lab.results import read_results
from marblecli.report.page import render_page
from marblecli.report.render import out, tell
from marblecli.report.terminal import say, show
from marblecli.runs.lab_files import LabFiles


def report(lab: LabRecipe, cells: Sequence[Cell], files: LabFiles) -> None:
    """Compare the finished cells. Raises BadInputError if there is none."""
    results = read_results(cells, rewards_of(lab))
    findings = find(files.folder.name, results, lab.reference)
    shown = page(findings)
    files.write_results(document(findings), markdown(findings), render_page(shown))
    for name in results.missing:
        tell(f"missing: {name} isn't finished")
    for sentence in shown.verdict:
        say(sentence)
    show(tables_of(findings)[0])
    for name, path in (
        ("report", files.page),
        ("tables", files.markdown),
        ("numbers", files.json),
    ):
        out.print(f"{name}: {path}", markup=False, soft_wrap=True)
