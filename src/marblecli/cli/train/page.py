"""The page of a run that is going on, written anew after each evaluation and at the end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from marblecli.cli.report.write import write_report
from marblecli.report.render import tell


def update_page(directory: Path) -> bool:
    """Write the page of the run, and return whether that was done.

    It never fails the run: whatever goes wrong is one line on stderr. The page is made in a thread
    of its own, which hands over any error of it, and is waited for.
    """
    with ThreadPoolExecutor(max_workers=1) as pool:
        error = pool.submit(write_report, directory).exception()
    if error is None:
        return True
    reason = (str(error).splitlines() or [""])[0] or type(error).__name__
    tell(f"the page of the run wasn't written: {reason}")
    return False
