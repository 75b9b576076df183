"""The tests that are marked ``gpu``, run in this process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpu_check.results import Note
from gpu_check.sizes import Sizes
from marblecli.errors import MarbleError

ROOT = Path(__file__).parents[2]
_MARK = "pytest.mark.gpu"
_REHEARSED = ("tests/engine/test_copies.py", "tests/engine/test_optimizer.py")


def marked_files(root: Path = ROOT) -> list[Path]:
    """The test files with a test that is marked so."""
    folders = (root / "tests", *sorted((root / "plugins").glob("*/tests")))
    files = (file for folder in folders for file in sorted(folder.rglob("test_*.py")))
    return [file for file in files if _MARK in file.read_text(encoding="utf-8")]


def gpu_tests(sizes: Sizes, note: Note) -> None:
    """Run them, and note the outcome of each. Raises MarbleError if one fails or none ran."""
    if sizes.rehearsal:
        files, mark = [ROOT / name for name in _REHEARSED], "not gpu and not slow"
    else:
        files, mark = marked_files(), "gpu"
    outcomes = _Outcomes()
    arguments = ["-q", "-m", mark, "-p", "no:cacheprovider", "-c", str(ROOT / "pyproject.toml")]
    code = pytest.main([*arguments, *map(str, files)], plugins=[outcomes])
    note({"passed": outcomes.passed, "failed": outcomes.failed, "skipped": outcomes.skipped})
    if code != pytest.ExitCode.OK:
        failed = ", ".join(outcomes.failed) or f"pytest ended with {int(code)}"
        raise MarbleError(f"tests failed: {failed}")


class _Outcomes:
    """A plugin of pytest that remembers how each test ended."""

    def __init__(self) -> None:
        self.passed: list[str] = []
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
        elif report.skipped:
            self.skipped.append(report.nodeid)
        elif report.when == "call":
            self.passed.append(report.nodeid)

    def pytest_collectreport(self, report: Any) -> None:
        if report.failed:
            self.failed.append(report.nodeid)
