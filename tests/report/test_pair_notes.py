from __future__ import annotations

import dataclasses

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.pairs import PairSummary, PairVerdict
from marblecli.report.pair_notes import named_pairs, pair_notes
from support.findings import OPEN, SURE, pair

AGREED = Estimate(0.6, 0.2, 1.0)


def judged(verdict: PairVerdict, single: Estimate, corrected: Estimate) -> PairSummary:
    return dataclasses.replace(pair("a", "b", verdict), cosine=single, corrected=corrected)


def test_pairs_are_counted_and_nothing_else_is_said_where_all_agree() -> None:
    assert pair_notes([judged("conflict", SURE, SURE)]) == (
        "Of the only pair of rewards, 1 conflicts (a with b).",
    )
    assert pair_notes([]) == ()


def test_opposite_signs_have_a_line_that_says_why() -> None:
    for verdict, single, corrected in (("agreement", SURE, AGREED), ("conflict", OPEN, SURE)):
        _, why = pair_notes([judged(verdict, single, corrected)])
        assert why.startswith("Single batches and the verdict differ in sign for a with b. Both")
        assert "The verdict compares gradients of different prompts" in why


def test_a_conflict_that_is_not_confirmed_has_a_line_that_says_why() -> None:
    _, why = pair_notes([judged("not significant", SURE, OPEN)])
    assert why.startswith("Single batches are below 0 for a with b, and the verdict doesn't")
    assert len(pair_notes([judged("not significant", OPEN, SURE)])) == 2
    assert len(pair_notes([judged("not significant", OPEN, OPEN)])) == 1


def test_a_few_pairs_are_named_and_the_others_counted() -> None:
    pairs = [pair("a", letter) for letter in "bcdef"]
    assert named_pairs(pairs[:2]) == "a with b and a with c"
    assert named_pairs(pairs[:4]) == "a with b, a with c, a with d and 1 more pair"
    assert named_pairs(pairs) == "a with b, a with c, a with d and 2 more pairs"
