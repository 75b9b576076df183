from __future__ import annotations

from marblecli.report.curve_sections import comparison_section, curve_section
from marblecli.report.evaluated import changes_by_step
from support.run_data import REWARDS, bare_run, metrics, run_data
from support.svg import texts


def test_every_reward_has_a_chart_that_says_how_it_ended() -> None:
    run = run_data()
    section = curve_section(run, changes_by_step(run.evaluations))
    assert section is not None
    assert tuple(chart.title for chart in section.charts) == REWARDS
    assert section.charts[0].text.startswith("held-out +0.2")
    assert {"held-out", "training", "mean of training batches"} <= set(texts(section.charts[0].svg))
    assert [len(table.rows) for table in section.folded_tables] == [2, 2]


def test_without_evaluations_there_are_the_batches() -> None:
    section = curve_section(run_data(evaluations=()), {})
    assert section is not None
    assert "held-out" not in texts(section.charts[0].svg)
    assert section.folded_tables == ()


def test_without_anything_there_is_no_section() -> None:
    assert curve_section(bare_run(), {}) is None


def test_a_reward_that_scored_no_image_of_a_batch_is_drawn_where_it_did() -> None:
    lines = metrics(3)
    lines[1]["rewards"] = {"ocr": None}
    assert curve_section(run_data(metrics=lines, evaluations=()), {}) is not None


def test_several_runs_share_a_chart_of_each_reward() -> None:
    runs = [run_data(), run_data("runs/other"), bare_run()]
    named = [
        (letter, run, changes_by_step(run.evaluations))
        for letter, run in zip("ABC", runs, strict=True)
    ]
    section = comparison_section(named, "held-out")
    assert section is not None
    assert len(section.charts) == len(REWARDS)
    assert {"A", "B"} <= set(texts(section.charts[0].svg))
    assert "C" not in texts(section.charts[0].svg)
    assert comparison_section(named[2:], "held-out") is None
