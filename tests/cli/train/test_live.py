from __future__ import annotations

import math
from io import StringIO

import pytest
from rich.console import Console

from marblecli.cli.train import live
from marblecli.cli.train.live import LiveProgress
from marblecli.train.recorder import EvaluationReport, StepReport
from marblecli.types import RewardChange


def shown_by(monkeypatch: pytest.MonkeyPatch, *, terminal: bool) -> StringIO:
    stream = StringIO()
    console = Console(file=stream, width=160, force_terminal=terminal, color_system=None)
    monkeypatch.setattr(live, "out", console)
    return stream


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    return shown_by(monkeypatch, terminal=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    return shown_by(monkeypatch, terminal=True)


def report(
    step: int,
    rewards: dict[str, float],
    cosines: dict[str, float] | None = None,
    seconds: float = 2.0,
    faults: tuple[str, ...] = (),
) -> StepReport:
    return StepReport(step, seconds, rewards, cosines or {}, faults)


def test_without_a_terminal_there_is_one_plain_line_for_each_step(plain: StringIO) -> None:
    with LiveProgress(["ocr", "colour"], 10) as progress:
        progress.on_step(report(1, {"ocr": 0.25, "colour": 0.5}, {"ocr": 0.3, "colour": -0.125}))
        progress.on_step(report(2, {"ocr": 0.75, "colour": 0.5}, {"ocr": 0.2, "colour": 0.4}))
    assert plain.getvalue().splitlines() == [
        "step 1/10  ocr 0.250 (+0.000)  colour 0.500 (+0.000)  worst cosine -0.12  "
        "2.0 s/step  ETA 0:00:18",
        "step 2/10  ocr 0.500 (+0.000)  colour 0.500 (+0.000)  worst cosine +0.20  "
        "2.0 s/step  ETA 0:00:16",
    ]


def test_the_change_is_from_the_first_five_steps_to_the_last_five(plain: StringIO) -> None:
    with LiveProgress(["ocr"], 10) as progress:
        for step in range(1, 11):
            progress.on_step(report(step, {"ocr": float(step)}))
    # These are the means of 1 to 5 and of 6 to 10.
    assert "ocr 8.000 (+5.000)" in plain.getvalue().splitlines()[-1]


def test_the_time_left_is_that_of_recent_steps(plain: StringIO) -> None:
    with LiveProgress(["ocr"], 3600) as progress:
        progress.on_step(report(1, {"ocr": 0.0}, seconds=3.0))
        progress.on_step(report(2, {"ocr": 0.0}, seconds=1.0))
    # 3598 steps of 2 seconds are left.
    assert plain.getvalue().splitlines()[-1].endswith("1.0 s/step  ETA 1:59:56")


def test_a_step_that_was_not_measured_keeps_the_last_cosine(plain: StringIO) -> None:
    with LiveProgress(["ocr"], 3) as progress:
        progress.on_step(report(1, {"ocr": 0.0}))
        progress.on_step(report(2, {"ocr": 0.0}, {"ocr": 0.5}))
        progress.on_step(report(3, {"ocr": 0.0}))
    cosines = [line.split("worst cosine ")[1].split()[0] for line in plain.getvalue().splitlines()]
    assert cosines == ["none", "+0.50", "+0.50"]


def test_a_reward_without_scores_so_far_is_shown_beside_the_others(plain: StringIO) -> None:
    with LiveProgress(["ocr", "colour"], 2) as progress:
        progress.on_step(report(1, {"colour": 0.5}))
        progress.on_step(report(2, {"ocr": 1.0}))
    first, second = plain.getvalue().splitlines()
    assert "ocr nan (+nan)  colour 0.500 (+0.000)" in first
    assert "ocr 1.000 (+0.000)  colour 0.500 (+0.000)" in second


def test_faults_are_shown_when_they_happen(plain: StringIO) -> None:
    with LiveProgress(["ocr"], 2) as progress:
        progress.on_step(report(2, {"ocr": 0.0}, faults=("ocr: KeyError: [bold]", "ocr: again")))
    lines = plain.getvalue().splitlines()
    assert lines[:2] == ["fault at step 2: ocr: KeyError: [bold]", "fault at step 2: ocr: again"]


def test_an_evaluation_is_one_line_for_each_split(plain: StringIO) -> None:
    change = RewardChange("ocr", 0.25, 0.5, 0.1, 0.3, 0.4, 0.6, 8)
    failed = RewardChange("colour", *(math.nan,) * 6, 0, failure="no driver")
    with LiveProgress(["ocr"], 2) as progress:
        changes = {"train": (change,), "held-out": (change, failed)}
        progress.on_evaluation(EvaluationReport(2, changes, ("train prompts: ocr: no driver",)))
    assert plain.getvalue().splitlines() == [
        "fault in the evaluation of step 2: train prompts: ocr: no driver",
        "step 2, train prompts: ocr +0.250",
        "step 2, held-out prompts: ocr +0.250  colour failed",
    ]


def test_on_a_terminal_one_table_is_redrawn(terminal: StringIO) -> None:
    with LiveProgress(["ocr", "colour"], 10) as progress:
        progress.on_step(report(1, {"ocr": 0.25, "colour": 0.5}, {"ocr": 0.5}, faults=("a", "b")))
        progress.on_step(report(2, {"ocr": 0.75, "colour": 0.5}, {"ocr": -0.25}))
    last = terminal.getvalue()[terminal.getvalue().rindex("step 2/10") :]
    rows = {line.split("│")[1].strip(): line for line in last.splitlines() if "│" in line}
    assert [cell.strip() for cell in rows["ocr"].split("│")[2:5]] == ["0.500", "+0.000", "-0.25"]
    assert [cell.strip() for cell in rows["colour"].split("│")[2:5]] == ["0.500", "+0.000", ""]
    assert "worst cosine -0.25   2.0 s/step   ETA 0:00:16   faults 2" in " ".join(last.split("\n"))
    assert "s/step  ETA" not in terminal.getvalue(), "no plain lines beside the table"


def test_the_cursor_is_restored_when_a_run_fails(terminal: StringIO) -> None:
    progress = LiveProgress(["ocr"], 2)
    with pytest.raises(TypeError, match="unexpected"), progress:
        progress.on_step(unexpected=report(1, {"ocr": 0.0}))
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().rindex(show) > terminal.getvalue().rindex(hide)


def test_a_smaller_micro_batch_is_reported(plain: StringIO) -> None:
    step = StepReport(3, 2.0, {"ocr": 0.5}, {}, (), ("out of memory with 8 images at a time",))
    with LiveProgress(["ocr"], 10) as progress:
        progress.on_step(step)
    assert plain.getvalue().splitlines()[0] == "step 3: out of memory with 8 images at a time"
