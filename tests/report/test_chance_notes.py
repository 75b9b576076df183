from __future__ import annotations

import dataclasses

import pytest

from marblecli.conflicts.findings import Findings
from marblecli.report.chance_notes import reward_level, unusual_levels, usual_level
from support.findings import findings_of

NAN = float("nan")
TITLES = {"batch": "own batch", "signal": "own batch's signal", "held-out": "held-out half"}


@pytest.fixture
def findings() -> Findings:
    own = {"applied": 0.0, "equal": 0.0, "single:ocr": 0.75, "update": NAN}
    chance = {"batch": own, "signal": own, "held-out": dict.fromkeys(own, 0.875)}
    return dataclasses.replace(findings_of("abc"), chance=chance)


def test_the_usual_level_is_that_of_most_directions(findings: Findings) -> None:
    assert usual_level(findings, "batch") == 0.0
    assert usual_level(findings, "held-out") == 0.875
    assert usual_level(findings, "fresh") is None


def test_a_direction_with_another_level_is_named_once(findings: Findings) -> None:
    (note,) = unusual_levels(findings, TITLES)
    assert note == (
        "By chance, single:ocr would be in conflict in 75 % of batches (own batch), because its "
        "direction leaves rewards out."
    )


def test_one_reward_is_a_coin_where_the_direction_was_made_of_other_gradients(
    findings: Findings,
) -> None:
    assert reward_level(findings, "held-out", "applied") == 0.5
    assert reward_level(findings, "batch", "applied") == 0.0
    assert reward_level(findings, "batch", "single:ocr") is None
    assert reward_level(findings, "batch", "update") is None
