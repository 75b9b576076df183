from __future__ import annotations

import dataclasses

import pytest

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.verdict import Verdict
from marblecli.report.sentences import (
    images_note,
    listed,
    measured_sentence,
    notes,
    pairs_sentence,
    verdict_sentences,
)
from support.findings import OPEN, SURE, findings_of, pair, records_of

HELPED = Estimate(0.2, 0.1, 0.3)


def said(verdict: Verdict) -> str:
    return " ".join(verdict_sentences(verdict, "the applied direction (marble)"))


def test_a_conflict_is_named_with_its_cosine_and_how_sure_it_is() -> None:
    cosines = {"ocr": SURE, "geneval": OPEN, "aesthetic": HELPED, "clip": HELPED}
    assert said(Verdict("applied", "held-out", 50, cosines)) == (
        "On data that it wasn't solved on (the held-out halves of 50 batches), the applied "
        "direction (marble) conflicts with ocr (mean cosine -0.500, 95 % interval -0.60 to -0.40). "
        "It agrees with aesthetic and clip. Its cosine is not significant for geneval."
    )


def test_without_a_significant_conflict_the_lowest_cosine_is_named() -> None:
    assert said(Verdict("applied", "fresh-signal", 8, {"ocr": OPEN})) == (
        "On data that it wasn't solved on (the fresh images of 8 batches), the applied direction "
        "(marble) has no significant conflict with any reward: the lowest mean cosine is that with "
        "ocr (mean cosine +0.100, 95 % interval -0.10 to +0.30). Its cosine is not significant for "
        "ocr."
    )


def test_too_few_batches_and_no_evidence_give_no_verdict() -> None:
    nan = float("nan")
    few = said(Verdict("applied", "held-out", 1, {"ocr": Estimate(-0.9, nan, nan)}))
    assert "the held-out halves of 1 batch)" in few
    assert "can't be judged: 6 batches are the least" in few
    assert "conflicts" not in few
    assert said(Verdict("applied", None, 0, {})).startswith("It is not known whether the applied")


@pytest.mark.parametrize(
    ("pairs", "sentence"),
    [
        (
            [pair("a", "b", "conflict"), pair("a", "c", "agreement"), pair("b", "c")],
            "Of the 3 pairs of rewards, 1 conflicts (a with b), 1 agrees and 1 is not significant.",
        ),
        (
            [pair("a", letter, "conflict") for letter in "bcde"],
            "Of the 4 pairs of rewards, 4 conflict.",
        ),
        (
            [pair("a", "b", "not measured")],
            "Of the only pair of rewards, 1 was not measured.",
        ),
    ],
)
def test_pairs_are_counted_and_a_few_conflicts_named(pairs, sentence: str) -> None:
    assert pairs_sentence(pairs) == sentence


def test_what_was_measured_says_whether_steps_are_missing() -> None:
    records = records_of("ab", batches=2)
    assert measured_sentence("runs/a", records, "equal") == (
        "runs/a: 2 measured batches (steps 1 to 2), 2 of them in halves and 0 with fresh images. "
        "In the tables, applied is the step, by the method equal."
    )
    updated = dataclasses.replace(records[0], cosines={"update": (0.1, 0.2)})
    assert measured_sentence("runs/a", [updated], "equal").endswith(
        "applied is the step, by the method equal, and update is what AdamW made of it."
    )
    sparse = [records[0], dataclasses.replace(records[1], step=6, parts=None)]
    assert measured_sentence("runs/a", sparse, None) == (
        "runs/a: 2 measured batches (steps 1 to 6; the steps between them reuse coefficients), 1 "
        "of them in halves and 0 with fresh images. In the tables, applied is the step."
    )


def test_notes_warn_of_few_batches_and_of_rewards_that_are_noise() -> None:
    records = records_of("ab", batches=2)
    text = " ".join(notes(records, findings_of("ab")))
    assert "fewer than 6 batches" in text
    assert "than noise would for a and b (column split halves)" in text
    assert "Held-out halves are evidence" in text
    old = [dataclasses.replace(record, parts=None) for record in records]
    text = " ".join(notes(old * 4, findings_of("ab")))
    assert "fewer than" not in text
    assert "noise would" not in text
    assert "measure.fresh_every" in text


def test_halves_of_levels_are_said_to_be_weak_evidence() -> None:
    records = [dataclasses.replace(each, halves="levels") for each in records_of("ab", batches=2)]
    text = " ".join(notes(records, findings_of("ab")))
    assert "from different noise levels agree no more" in text
    assert "Held-out halves are weak evidence here" in text
    assert "Held-out halves are evidence" not in text


def test_rewards_that_scored_nothing_are_explained() -> None:
    assert images_note(()) == ()
    (note,) = images_note(("ocr", "clip"))
    assert note.startswith("ocr and clip scored no image of any batch: the reward failed, or")


def test_lists_read_as_people_write_them() -> None:
    assert [listed(list("abc"[:count])) for count in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
