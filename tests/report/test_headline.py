from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest

from marblecli.conflicts.findings import Findings
from marblecli.conflicts.pairs import PairSummary
from marblecli.report.headline import headline
from support.findings import absent, findings_of, pair, steady

GOOD, BAD = [0.4, 0.3, 0.2], [0.4, 0.3, -0.2]


def found(
    pairs: Sequence[PairSummary],
    *,
    own: Sequence[float] = GOOD,
    update: Sequence[float] | None = None,
    held_out: Sequence[float] = GOOD,
) -> Findings:
    """Three rewards a, b, c; the cosines of the step in its own batches and on held-out halves."""
    findings = findings_of("abc")
    batch = {"applied": steady("abc", own)}
    if update is not None:
        batch["update"] = steady("abc", update)
    views = {
        **{view: {"applied": absent("abc")} for view in findings.views},
        "batch": batch,
        "held-out": {"applied": steady("abc", held_out)},
    }
    return dataclasses.replace(findings, pairs=tuple(pairs), views=views)


THREE = [pair("a", "b", "conflict"), pair("a", "c"), pair("b", "c", "agreement")]


def test_it_says_who_conflicts_and_whether_the_step_does() -> None:
    assert headline(found(THREE, update=BAD), 8) == (
        "1 of 3 pairs of rewards conflicts: a with b; on its own batches the step conflicts with "
        "no reward, AdamW's update with some reward in 100 % of them."
    )


def test_a_significant_conflict_on_other_data_ends_it() -> None:
    text = headline(found(THREE, held_out=BAD), 8)
    assert text.endswith("the step conflicts with no reward; on held-out halves the step conflicts "
                         "with c.")  # fmt: skip


@pytest.mark.parametrize(
    ("pairs", "batches", "beginning"),
    [
        ([pair("a", "b"), pair("a", "c")], 8, "None of 2 pairs of rewards has a significant conf"),
        ([pair("a", "b")], 8, "The only pair of rewards has no significant conflict; on its own"),
        ([pair("a", "b", "conflict")], 8, "The only pair of rewards conflicts: a with b; on"),
        ([pair("a", x, "conflict") for x in "bc"], 8, "2 of 2 pairs of rewards conflict: a with"),
        (THREE, 1, "1 batch is too few to tell whether rewards conflict (6 are the least); on"),
        ([pair("a", "b", "not measured")], 8, "Whether rewards conflict is unknown, because no"),
        ([], 8, "On its own batches the step conflicts with no reward"),
    ],
)
def test_every_case_has_its_words(pairs: list[PairSummary], batches: int, beginning: str) -> None:
    assert headline(found(pairs), batches).startswith(beginning)


def test_nothing_measured_is_said() -> None:
    findings = findings_of("a")
    views = {view: {"applied": absent("a")} for view in findings.views}
    assert headline(dataclasses.replace(findings, views=views), 8) == "Nothing was measured."
