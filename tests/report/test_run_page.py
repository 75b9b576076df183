from __future__ import annotations

import pytest

from marblecli.report.page import render_page
from marblecli.report.run_page import duration, run_page
from support.run_data import bare_run, evaluations, gallery, metrics, run_data


def test_the_verdict_is_of_held_out_prompts_and_comes_first() -> None:
    page = run_page(run_data())
    assert page.verdict[0].startswith("After 10 steps, ocr (+0.2")
    assert "held-out" in page.verdict[0]
    text = render_page(page)
    assert text.index(page.verdict[0].split(",")[0]) < text.index("<section")


def test_everything_that_a_run_has_is_a_section() -> None:
    titles = [section.title for section in run_page(run_data()).sections]
    assert titles == [
        "What every reward did",
        "Reward curves",
        "Pictures over time",
        "Which rewards conflict",
        "Cosines and coefficients",
        "Directions and rewards",
        "Every direction, source and noise level",
        "Where the time went",
        "Recipe",
        "Environment",
    ]


def test_a_run_that_has_just_started_says_what_is_missing() -> None:
    page = run_page(bare_run())
    assert page.sections == ()
    assert "weren't both evaluated" in page.verdict[0]
    assert "There is no evaluation yet." in render_page(page)


def test_a_run_without_held_out_prompts_is_judged_by_the_others() -> None:
    only = [
        type(each)(each.step, each.subject, {"train": each.images["train"]}, seed=0)
        for each in evaluations()
    ]
    assert "on training prompts" in run_page(run_data(evaluations=only)).verdict[0]


def test_a_run_that_goes_on_says_how_far_it_is() -> None:
    assert "4 of 10 optimizer steps so far" in run_page(run_data(metrics=metrics(4))).measured


def test_times_are_of_the_phases_and_the_whole() -> None:
    (section,) = (s for s in run_page(run_data()).sections if s.title == "Where the time went")
    assert "took 20 s" in section.text
    assert [row[0] for row in section.tables[0].rows] == ["sampling", "gradients", "other"]


def test_texts_of_users_are_harmless() -> None:
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    run = run_data(
        attack,
        galleries=(gallery(attack),),
        recipe_text=attack,
        environment={attack: attack},
        missing=(attack,),
    )
    text = render_page(run_page(run))
    assert "<script>alert" not in text
    assert "<img src=x" not in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (200.0, "3 min 20 s"), (7500.0, "2 h 05 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text
