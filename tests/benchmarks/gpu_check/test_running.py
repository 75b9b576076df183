"""Parts that are run by short programs in place of measurements."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gpu_check.parts import PARTS, Part
from gpu_check.results import DONE, FAILED, RUNNING, Result, noting, read_result, write_result
from gpu_check.running import Order, is_done, run_part, run_parts

PART = Part("one", "what one is", 20, "nowhere:nothing")


def program(code: str) -> object:
    """A command that notes a figure, and then runs ``code``."""

    def command(part: Part, folder: Path, _rehearsal: bool) -> list[str]:
        path = str(folder / f"{part.name}.json")
        noted = json.dumps({"part": part.name, "state": RUNNING, "figures": {"seen": 7}})
        first = f"import os, sys, time; open({path!r}, 'w').write({noted!r}); "
        return [sys.executable, "-c", first + code]

    return command


def ran(folder: Path, code: str, part: Part = PART) -> Result:
    return run_part(part, Order(folder), program(code))  # type: ignore[arg-type] # a test's own


def test_a_part_that_ends_well_is_done_and_keeps_its_figures(tmp_path: Path) -> None:
    found = ran(tmp_path, "pass")
    assert found.state == DONE
    assert found.figures == {"seen": 7}
    assert read_result(tmp_path, "one") == found


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("raise MemoryError('CUDA is full')", "MemoryError: CUDA is full"),
        ("os.kill(os.getpid(), 9)", "ended by SIGKILL; the machine's memory may have run out"),
        ("os.kill(os.getpid(), 11)", "ended by SIGSEGV"),
        ("sys.exit(3)", "ended with 3"),
    ],
)
def test_a_part_that_dies_says_why_and_keeps_its_figures(
    tmp_path: Path, code: str, reason: str
) -> None:
    found = ran(tmp_path, code)
    assert (found.state, found.reason) == (FAILED, reason)
    assert found.figures == {"seen": 7}


def test_a_part_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    found = ran(tmp_path, "time.sleep(60)", replace(PART, limit=1))
    assert (found.state, found.reason) == (FAILED, "took more than 1 s")
    assert found.seconds < 20


def test_a_part_that_is_done_is_not_run_again_unless_asked(tmp_path: Path) -> None:
    told: list[str] = []
    order = Order(tmp_path)
    done, dying = program("pass"), program("sys.exit(1)")
    assert run_parts([PART], order, told.append, done)  # type: ignore[arg-type]
    assert run_parts([PART], order, told.append, dying)  # type: ignore[arg-type]
    assert "done before" in told[-1]
    again = replace(order, again=True)
    assert not run_parts([PART], again, told.append, dying)  # type: ignore[arg-type]
    # What failed is tried again.
    assert run_parts([PART], order, told.append, done)  # type: ignore[arg-type]


def test_one_part_that_dies_costs_no_other(tmp_path: Path) -> None:
    parts = [replace(PART, name="a"), replace(PART, name="b")]

    def command(part: Part, folder: Path, rehearsal: bool) -> list[str]:
        code = "sys.exit(1)" if part.name == "a" else "pass"
        return program(code)(part, folder, rehearsal)  # type: ignore[operator, no-any-return]

    assert not run_parts(parts, Order(tmp_path), lambda _: None, command)
    found = [read_result(tmp_path, part.name) for part in parts]
    assert [result and result.state for result in found] == [FAILED, DONE]


def test_no_part_begins_that_may_not_end_in_time(tmp_path: Path) -> None:
    told: list[str] = []
    parts = [PART, replace(PART, name="long", limit=500)]
    order = Order(tmp_path, within=60)
    assert not run_parts(parts, order, told.append, program("pass"))  # type: ignore[arg-type]
    assert read_result(tmp_path, "long") is None
    assert told[-1].startswith("long: left out")


def test_a_rehearsal_is_not_taken_for_a_measurement() -> None:
    rehearsed = Result("one", DONE, rehearsal=True)
    assert is_done(rehearsed, rehearsal=True)
    assert not is_done(rehearsed, rehearsal=False)
    assert not is_done(Result("one", RUNNING), rehearsal=False)


def test_figures_are_kept_as_they_come(tmp_path: Path) -> None:
    note = noting(tmp_path, Result("one"))
    note({"a": 1})
    note({"b": 2})
    found = read_result(tmp_path, "one")
    assert found is not None
    assert (found.state, found.figures) == (RUNNING, {"a": 1, "b": 2})
    write_result(tmp_path, replace(found, state=DONE))
    assert not list(tmp_path.glob(".*"))


def test_all_parts_take_at_most_25_minutes() -> None:
    assert sum(part.limit for part in PARTS) <= 25 * 60
    assert len({part.name for part in PARTS}) == len(PARTS)


def test_the_guide_lists_the_parts_and_their_limits() -> None:
    text = (Path(__file__).parents[3] / "docs" / "performance.md").read_text(encoding="utf-8")
    for part in PARTS:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| `{part.name}` |")]
        assert line.endswith(f"| {part.limit} |")
