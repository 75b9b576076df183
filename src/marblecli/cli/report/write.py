"""Write the page of a run, or of several, and say its verdict."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from marblecli.cli.report.gather import gather
from marblecli.report.comparison_page import comparison_page
from marblecli.report.page import Page, render_page
from marblecli.report.render import log, out
from marblecli.report.run_page import run_page
from marblecli.runs.pages import COMPARISON_FILE, REPORT_FILE, check_page, write_page


def write_report(directory: Path, file: Path | None = None) -> tuple[Page, Path]:
    """Write the page of one run, to ``report.html`` in its directory if no ``file`` is given.

    Raises BadInputError if it is no run directory, MarbleError if the page can't be written.
    """
    path = file or directory / REPORT_FILE
    page = run_page(gather(directory))
    write_page(path, render_page(page))
    return page, path


def report(directories: Sequence[Path], file: Path | None) -> None:
    """Write the page, and print its verdict and where it is.

    Raises BadInputError, before anything is drawn, if the page couldn't be written there or a
    directory isn't a run's.
    """
    if file is not None:
        check_page(file)
    if len(directories) == 1:
        page, path = write_report(directories[0], file)
    else:
        path = file or Path(COMPARISON_FILE)
        page = comparison_page([gather(directory) for directory in directories])
        write_page(path, render_page(page))
    for sentence in page.verdict:
        out.print(sentence, markup=False)
    for line in page.missing:
        log.print(f"missing: {line}", markup=False, soft_wrap=True)
    out.print(f"report: {path}", markup=False, soft_wrap=True)
