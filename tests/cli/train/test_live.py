from __future__ import annotations

import math
import re
import time
from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from marblecli.cli.train import live
from marblecli.cli.train.eta import Eta
from marblecli.cli.train.live import LiveProgress
from marblecli.progress import listening, work
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


def progress_of(rewards: list[str], steps: int, every: int = 0) -> LiveProgress:
    """The progress of a run whose evaluations take 10 seconds."""
    return LiveProgress(rewards, steps, Eta(steps, every, 10.0, clock=lambda: 0.0))


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "_PAUSE", 0.0)


def report(
    step: int,
    rewards: dict[str, float],
    cosines: dict[str, float] | None = None,
    seconds: float = 2.0,
    faults: tuple[str, ...] = (),
) -> StepReport:
    return StepReport(step, seconds, rewards, cosines or {}, faults)


def test_without_a_terminal_there_is_one_plain_line_for_each_step(plain: StringIO) -> None:
    with progress_of(["ocr", "colour"], 10) as progress:
        progress.on_step(report(1, {"ocr": 0.25, "colour": 0.5}, {"ocr": 0.3, "colour": -0.125}))
        progress.on_step(report(2, {"ocr": 0.75, "colour": 0.5}, {"ocr": 0.2, "colour": 0.4}))
    assert plain.getvalue().splitlines() == [
        "step 1/10  ocr 0.250 (+0.000)  colour 0.500 (+0.000)  worst cosine -0.12  "
        "2.0 s/step  ETA 0:00:28 with 1 evaluation",
        "step 2/10  ocr 0.500 (+0.000)  colour 0.500 (+0.000)  worst cosine +0.20  "
        "2.0 s/step  ETA 0:00:26 with 1 evaluation",
    ]


def test_prompts_that_were_left_out_are_counted_once_there_are_some(plain: StringIO) -> None:
    with progress_of(["ocr"], 10) as progress:
        progress.on_step(report(1, {"ocr": 0.5}))
        for step in (2, 3):
            progress.on_step(replace(report(step, {"ocr": 0.5}), constant_groups=3))
    lines = plain.getvalue().splitlines()
    assert "left out" not in lines[0]
    assert "2.0 s/step  6 constant prompts left out  ETA" in lines[2]


def test_the_change_is_from_the_first_five_steps_to_the_last_five(plain: StringIO) -> None:
    with progress_of(["ocr"], 10) as progress:
        for step in range(1, 11):
            progress.on_step(report(step, {"ocr": float(step)}))
    # These are the means of 1 to 5 and of 6 to 10.
    assert "ocr 8.000 (+5.000)" in plain.getvalue().splitlines()[-1]


def test_the_time_left_is_that_of_recent_steps(plain: StringIO) -> None:
    with progress_of(["ocr"], 3600) as progress:
        progress.on_step(report(1, {"ocr": 0.0}, seconds=3.0))
        progress.on_step(report(2, {"ocr": 0.0}, seconds=1.0))
    # 3598 steps of 2 seconds are left, and an evaluation of 10.
    assert plain.getvalue().splitlines()[-1].endswith("1.0 s/step  ETA 2:00:06 with 1 evaluation")


def test_a_step_that_was_not_measured_keeps_the_last_cosine(plain: StringIO) -> None:
    with progress_of(["ocr"], 3) as progress:
        progress.on_step(report(1, {"ocr": 0.0}))
        progress.on_step(report(2, {"ocr": 0.0}, {"ocr": 0.5}))
        progress.on_step(report(3, {"ocr": 0.0}))
    cosines = [line.split("worst cosine ")[1].split()[0] for line in plain.getvalue().splitlines()]
    assert cosines == ["none", "+0.50", "+0.50"]


def test_a_reward_without_scores_so_far_is_shown_beside_the_others(plain: StringIO) -> None:
    with progress_of(["ocr", "colour"], 2) as progress:
        progress.on_step(report(1, {"colour": 0.5}))
        progress.on_step(report(2, {"ocr": 1.0}))
    first, second = plain.getvalue().splitlines()
    assert "ocr nan (+nan)  colour 0.500 (+0.000)" in first
    assert "ocr 1.000 (+0.000)  colour 0.500 (+0.000)" in second


def test_faults_are_shown_when_they_happen(plain: StringIO) -> None:
    with progress_of(["ocr"], 2) as progress:
        progress.on_step(report(2, {"ocr": 0.0}, faults=("ocr: KeyError: [bold]", "ocr: again")))
    lines = plain.getvalue().splitlines()
    assert lines[:2] == ["fault at step 2: ocr: KeyError: [bold]", "fault at step 2: ocr: again"]


def test_an_evaluation_is_one_line_for_each_split(plain: StringIO) -> None:
    change = RewardChange("ocr", 0.25, 0.5, 0.1, 0.3, 0.4, 0.6, 8)
    failed = RewardChange("colour", *(math.nan,) * 6, 0, failure="no driver")
    with progress_of(["ocr"], 4) as progress:
        changes = {"train": (change,), "held-out": (change, failed)}
        fault = "train prompts: ocr: no driver"
        progress.on_evaluation(EvaluationReport(2, changes, (fault,), 12.34))
        progress.on_evaluation(EvaluationReport(4, changes, (), 10.0))
    assert plain.getvalue().splitlines() == [
        "fault in the evaluation of step 2: train prompts: ocr: no driver",
        "step 2: evaluated in 12.3 s",
        "step 2, train prompts: ocr +0.250",
        "step 2, held-out prompts: ocr +0.250  colour failed",
        "step 4: evaluated in 10.0 s",
    ], "a table comes after the last one"


def test_on_a_terminal_one_table_is_redrawn(terminal: StringIO) -> None:
    with progress_of(["ocr", "colour"], 10) as progress:
        progress.on_step(report(1, {"ocr": 0.25, "colour": 0.5}, {"ocr": 0.5}, faults=("a", "b")))
        progress.on_step(report(2, {"ocr": 0.75, "colour": 0.5}, {"ocr": -0.25}))
    last = terminal.getvalue()[terminal.getvalue().rindex("step 2/10") :]
    rows = {line.split("│")[1].strip(): line for line in last.splitlines() if "│" in line}
    assert [cell.strip() for cell in rows["ocr"].split("│")[2:5]] == ["0.500", "+0.000", "-0.25"]
    assert [cell.strip() for cell in rows["colour"].split("│")[2:5]] == ["0.500", "+0.000", ""]
    assert "worst cosine -0.25   2.0 s/step   faults 2" in last
    assert "ETA 0:00:26 with 1 evaluation" in last
    assert "s/step  ETA" not in terminal.getvalue(), "no plain lines beside the table"


def test_the_cursor_is_restored_when_a_run_fails(terminal: StringIO) -> None:
    progress = progress_of(["ocr"], 2)
    with pytest.raises(TypeError, match="unexpected"), progress:
        progress.on_step(unexpected=report(1, {"ocr": 0.0}))
    hide, show = "\x1b[?25l", "\x1b[?25h"
    assert terminal.getvalue().rindex(show) > terminal.getvalue().rindex(hide)


def test_a_smaller_micro_batch_is_reported(plain: StringIO) -> None:
    step = StepReport(3, 2.0, {"ocr": 0.5}, {}, (), ("out of memory with 8 images at a time",))
    with progress_of(["ocr"], 10) as progress:
        progress.on_step(step)
    assert plain.getvalue().splitlines()[0] == "step 3: out of memory with 8 images at a time"


def test_lines_about_quick_steps_are_few_where_there_is_no_terminal(
    plain: StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "_PAUSE", 3600.0)
    with progress_of(["ocr"], 500) as progress:
        for step in range(1, 501):
            progress.on_step(report(step, {"ocr": 0.0}, seconds=0.01))
    assert [line.split()[1] for line in plain.getvalue().splitlines()] == ["1/500", "500/500"]


def test_what_goes_on_stands_below_the_table(terminal: StringIO) -> None:
    with progress_of(["ocr"], 10) as progress, listening(progress.work):
        progress.on_step(report(1, {"ocr": 0.25}))
        with work("sampling", 72, "images") as advance:
            advance(36)
            progress.on_evaluation(EvaluationReport(0, {}, (), 1.0))
            time.sleep(0.3)
    screen = terminal.getvalue()
    assert screen.rindex("36/72 images") > screen.index("step 1/10")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_the_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    monkeypatch.setattr(live, "out", console)
    names = [f"shapes-reward-of-a-name-{number}" for number in range(6)]
    changes = {"train": tuple(RewardChange(name, *(0.5,) * 6, 8) for name in names)}
    with progress_of(names, 10) as progress:
        progress.on_evaluation(EvaluationReport(1, changes, ("a long fault " * 12,), 1.0))
        progress.on_step(report(1, dict.fromkeys(names, 0.5), faults=("word " * 40,)))
    control = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
    lines = control.sub("", stream.getvalue()).replace("\r", "\n").splitlines()
    assert max(map(len, lines)) <= width
    # A reward and its change aren't torn apart.
    assert all(f"{name} +0.000" in "\n".join(lines) for name in names)
