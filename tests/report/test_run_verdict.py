from __future__ import annotations

import math

from marblecli.report.run_verdict import comparison_verdict, run_verdict
from marblecli.types import RewardChange
from support.findings import pair


def change(name: str, value: float, low: float, high: float) -> RewardChange:
    return RewardChange(name, 0.5, 0.5 + value, low, high, math.nan, math.nan, 8)


ROSE = change("ocr", 0.2, 0.1, 0.3)
FELL = change("aes", -0.02, -0.03, -0.01)
OPEN = change("clip", 0.01, -0.01, 0.03)


def test_what_rose_fell_and_conflicted_in_one_sentence() -> None:
    pairs = [pair("ocr", "aes", "conflict"), pair("ocr", "clip"), pair("aes", "clip")]
    assert run_verdict(25, [ROSE, FELL, OPEN], pairs, "held-out") == (
        "After 25 steps, ocr (+0.200) rose and aes (-0.020) fell on held-out prompts, while the "
        "change of clip was not significant; 1 of 3 pairs of rewards conflicts (ocr with aes)."
    )


def test_all_rose_and_nothing_else_is_said() -> None:
    assert run_verdict(1, [ROSE], [pair("a", "b")], "training") == (
        "After 1 step, ocr (+0.200) rose on training prompts; none of the 1 pair of rewards is in "
        "significant conflict."
    )


def test_nothing_changed() -> None:
    found = run_verdict(9, [OPEN], [], "held-out")
    assert found == (
        "After 9 steps, no reward changed significantly on held-out prompts; conflicts between "
        "rewards weren't measured."
    )


def test_an_interval_that_ends_at_zero_isnt_a_change() -> None:
    edge = change("ocr", 0.1, 0.0, 0.2)
    assert "no reward changed significantly" in run_verdict(9, [edge], [], "held-out")


def test_a_small_change_isnt_shown_as_zero() -> None:
    tiny = change("ocr", -0.0002, -0.0003, -0.0001)
    assert "ocr (-0.0002) fell" in run_verdict(9, [tiny], [], "held-out")


def test_without_intervals_nothing_is_claimed() -> None:
    unknown = [change("ocr", 0.2, math.nan, math.nan), change("aes", -0.1, math.nan, math.nan)]
    found = run_verdict(5, unknown, [], "held-out")
    assert "1 of 2 rewards" in found
    assert "isn't known" in found
    assert "rose" not in found


def test_without_evaluations_the_sentence_says_so() -> None:
    assert "weren't both evaluated" in run_verdict(5, [], [], "")


def test_only_some_of_many_conflicts_are_named() -> None:
    pairs = [pair(letter, "z", "conflict") for letter in "abcdef"]
    found = run_verdict(5, [ROSE], pairs, "held-out")
    assert "6 of 6 pairs of rewards conflict (a with z, b with z and c with z among them)" in found


def test_two_runs_in_one_sentence() -> None:
    assert comparison_verdict("A", "B", [ROSE, FELL, OPEN], "held-out") == (
        "B is above A in ocr (+0.200) and below A in aes (-0.020) on the same held-out prompts "
        "and noise."
    )
    assert "doesn't differ significantly" in comparison_verdict("A", "B", [OPEN], "held-out")
