from __future__ import annotations

from dataclasses import replace

from marblecli.report.comparison_page import comparison_page, letter_of
from marblecli.report.page import Page, Section
from marblecli.report.tables import Change
from support.run_data import RECIPE, SHIFTS, bare_run, evaluation, evaluations, run_data

BETTER = [
    *evaluations((0, 5)),
    evaluation(10, {**SHIFTS, "ocr": SHIFTS["ocr"] + 0.1}),
    evaluation(15, SHIFTS),
]


def other(**changed: object) -> object:
    recipe = {**RECIPE, "balance": {"method": "marble"}}
    return run_data("runs/other", **{"recipe": recipe, "evaluations": BETTER, **changed})


def section(page: Page, title: str) -> Section:
    (found,) = (each for each in page.sections if each.title == title)
    return found


def test_runs_are_paired_at_the_last_step_that_both_evaluated() -> None:
    page = comparison_page([run_data(), other()])
    table, *_ = section(page, "Paired differences").tables
    assert [column.note for column in table.columns[1:3]] == ["step 10", "step 10"]
    differences = {row[0]: row[3] for row in table.rows}
    assert isinstance(differences["ocr"], Change)
    assert abs(differences["ocr"].value - 0.1) < 1e-9
    assert differences["ocr"].sign == 1
    assert differences["aesthetic"].value == 0.0
    assert page.verdict[0] == (
        "B is above A in ocr (+0.100) on the same held-out prompts and noise."
    )


def test_every_run_has_its_letter_verdict_and_final_changes() -> None:
    page = comparison_page([run_data(), other(), bare_run()])
    assert [line[:2] for line in page.verdict[-3:]] == ["A:", "B:", "C:"]
    rows = section(page, "The runs").tables[0].rows
    assert [row[:2] for row in rows] == [
        ("A", "runs/demo"),
        ("B", "runs/other"),
        ("C", "runs/bare"),
    ]
    held_out, _ = section(page, "Final changes").tables
    assert [column.note for column in held_out.columns[1:]] == ["step 10", "step 15", ""]
    assert all(row[3] is None for row in held_out.rows)
    assert "C: There is no evaluation yet." in page.missing


def test_only_what_differs_between_recipes_is_shown() -> None:
    page = comparison_page([run_data(), other()])
    assert section(page, "Where their recipes differ").tables[0].rows == (
        ("balance.method", "equal", "marble"),
    )
    same = comparison_page([run_data(), run_data()])
    assert "the same" in section(same, "Where their recipes differ").text


def test_why_runs_cant_be_paired() -> None:
    apart = [replace(each, seed=1) for each in BETTER]
    page = comparison_page([run_data(), other(evaluations=apart), bare_run()])
    text = section(page, "Paired differences").text
    assert "B isn't paired with A: can't pair evaluations of the seeds 0 and 1" in text
    assert "C isn't paired with A: one of them holds no images" in text


def test_letters_dont_end() -> None:
    assert [letter_of(place) for place in (0, 25, 26)] == ["A", "Z", "R27"]
