from __future__ import annotations

import json

from marblecli.lab.page import document, find, markdown, page, tables_of, verdict
from marblecli.report.page import render_page
from marblecli.runs.json_lines import to_json
from support.lab_results import results

FOUND = find("a lab", results())


def test_the_verdict_names_the_method_that_serves_the_worst_off_reward_best() -> None:
    sentences = verdict(FOUND)
    assert sentences[0].startswith("marble serves its worst-off reward best: ")
    assert "In 2 of 2 seeds its worst share is above that of equal." in sentences[0]
    assert "specialist" in sentences[1]


def test_a_lab_of_specialists_compares_nothing() -> None:
    found = find("a lab", results(["specialist-a", "specialist-b"]))
    assert verdict(found) == ("There are only specialists: nothing is compared.",)
    assert render_page(page(found))


def test_the_page_has_every_section_and_says_what_is_missing() -> None:
    shown = page(FOUND)
    titles = [section.title for section in shown.sections]
    assert titles[0] == "Held-out prompts: the worst-off reward, and the mean"
    for part in ("Which method serves whom", "Learning curves", "Which images teach", "Harmony"):
        assert any(title.startswith(part) for title in titles)
    assert shown.missing == ("late-seed0 isn't finished.",)
    text = render_page(shown)
    assert text.count("<svg") >= 11
    assert "nan" not in text.lower().split("<svg")[0]


def test_methods_are_compared_at_equal_distance_too() -> None:
    """Of the three, equal and marble go .16 far, and the weighted sum .24: it is cut short."""
    where = FOUND.at_equal_distance
    assert where.keys() == {"marble", "equal", "weighted-sum"}
    assert where["weighted-sum"].step == 3
    assert where["marble"].step == 4


def test_the_document_is_json_and_has_all_numbers() -> None:
    found = json.loads(to_json(document(FOUND)))
    marble = found["methods"]["marble"]
    assert marble["seeds"] == [0, 1]
    assert 0.15 < marble["gains"]["held-out"]["a"]["value"] < 0.25
    assert marble["measures"]["passes"] == 4 * (100 + 1.12 * 50)
    assert {each["name"] for each in found["cells"]} >= {"equal-seed0", "equal-seed1"}
    assert found["units"]["kind"] == "specialist"
    assert found["missing"] == ["late-seed0"]


def test_the_markdown_has_every_table() -> None:
    text = markdown(FOUND)
    for table in tables_of(FOUND):
        assert f"### {table.title}\n" in text
    assert "| marble | 2 |" in text
