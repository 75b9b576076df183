from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from marblecli.conflicts.estimates import Estimate
from marblecli.conflicts.findings import Findings
from marblecli.report.advice import advice
from support.findings import OPEN, absent, findings_of, pair, steady

CLEAR = Estimate(0.2, 0.1, 0.3)


def judged(
    applied: Sequence[float], equal: Sequence[float], *, reliability: Estimate = CLEAR
) -> Findings:
    """Two rewards a and b, of which nothing conflicts; mean cosines on held-out halves."""
    findings = findings_of("ab")
    both = {"applied": steady("ab", applied), "equal": steady("ab", equal)}
    nothing = dict.fromkeys(both, absent("ab"))
    return dataclasses.replace(
        findings,
        pairs=(pair("a", "b"),),
        rewards={
            name: dataclasses.replace(facts, reliability=reliability)
            for name, facts in findings.rewards.items()
        },
        views={**dict.fromkeys(findings.views, nothing), "batch": both, "held-out": both},
    )


def test_a_reward_that_the_step_harms_can_be_favoured_or_the_method_changed() -> None:
    found = judged([0.3, -0.2], [0.3, 0.1])
    assert advice(found, "marble") == (
        "What to do: set balance.priorities.b above 1. On the same data, equal has no significant "
        "conflict."
    )
    assert advice(found, "weighted-sum").startswith("What to do: try another method; --method")


def test_a_direction_that_conflicts_too_is_not_recommended() -> None:
    assert "On the same data" not in advice(judged([0.3, -0.2], [0.3, -0.1]), "marble")


def test_noise_is_measured_better_before_anything_is_changed() -> None:
    said = advice(judged([0.3, -0.2], [0.3, -0.1], reliability=OPEN), "marble")
    assert said.startswith("What to do: measure better first. The gradient of b is mostly noise")
    assert said.endswith("If the conflict remains, set balance.priorities.b above 1.")


def test_a_step_that_serves_both_sides_of_a_conflict_stays() -> None:
    found = judged([0.3, 0.2], [0.3, 0.1])
    found = dataclasses.replace(found, pairs=(pair("a", "b", "conflict"),))
    assert "because the step serves both sides. To favour one" in advice(found, "marble")
    assert advice(found, "equal").endswith("because the step serves both sides.")
    doubtful = {"applied": steady("ab", [0.3, 0.0]), "equal": steady("ab", [0.3, 0.0])}
    found = dataclasses.replace(found, views={**found.views, "held-out": doubtful})
    assert "because the step isn't known to harm a reward" in advice(found, "equal")


def test_without_any_conflict_nothing_has_to_change() -> None:
    assert advice(judged([0.3, 0.2], [0.3, 0.1]), None).startswith("What to do: nothing has to")


def test_too_little_data_asks_for_more() -> None:
    few = {"applied": steady("ab", [0.3, -0.2], batches=3)}
    found = judged([0.3, 0.2], [0.3, 0.1])
    short = dataclasses.replace(found, views={**found.views, "held-out": few})
    assert "measure 6 batches or more" in advice(short, "marble")
    nothing = {"applied": absent("ab")}
    short = dataclasses.replace(found, views={**found.views, "held-out": nothing})
    assert "training.gradients = contracted" in advice(short, "marble")
