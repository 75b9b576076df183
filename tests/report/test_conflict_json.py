from __future__ import annotations

import json

import numpy as np
import pytest

from marblecli.conflicts.estimates import NOTHING, Estimate
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.conflicts.vectors import PairSummary, summarise
from marblecli.conflicts.views import VIEWS
from marblecli.report.conflict_json import conflict_document, direction_json

SURE = Estimate(0.5, 0.4, 0.6)


def test_a_direction_worked_by_hand():
    """Eight batches of cosines .4 and -.2: always fought, and every interval is a point."""
    found = direction_json(summarise("ab", np.tile([[0.4, -0.2]], (8, 1, 1))))
    assert found == {
        "batches": 8,
        "fought_share": 1.0,
        "worst_cosine_mean": pytest.approx(-0.2),
        "worst_reward": "b",
        "intervals": {
            "fought_share": [1.0, 1.0],
            "worst_cosine_mean": pytest.approx([-0.2, -0.2]),
        },
        "per_reward": {
            name: {
                "fought_share": share,
                "cosine_mean": pytest.approx(cosine),
                "cosine_worst": cosine,
                "intervals": {
                    "fought_share": [share, share],
                    "cosine_mean": pytest.approx([cosine, cosine]),
                },
            }
            for name, share, cosine in (("a", 0.0, 0.4), ("b", 1.0, -0.2))
        },
    }


def test_what_is_no_number_is_null():
    nothing = summarise("ab", np.full((3, 1, 2), np.nan))
    findings = Findings(
        rewards={name: RewardFacts(float("nan"), NOTHING, NOTHING, NOTHING) for name in "ab"},
        pairs=(PairSummary("a", "b", 0, NOTHING, NOTHING, NOTHING, "not measured"),),
        views={view: {"applied": nothing} for view in VIEWS},
        slices={"source x": {"applied": nothing}},
    )
    document = json.loads(json.dumps(conflict_document([], findings), allow_nan=False))
    assert document["directions"]["applied"]["worst_reward"] is None
    assert document["directions"]["applied"]["intervals"]["fought_share"] is None
    assert document["pairs"][0]["corrected_cosine"] is None
    assert document["gradients"]["a"]["intervals"] == {"norm": None, "pull_share": None}


def test_the_keys_that_scripts_rely_on():
    summary = summarise("ab", np.tile([[0.4, -0.2]], (8, 1, 1)))
    findings = Findings(
        rewards={name: RewardFacts(4.0, SURE, SURE, SURE) for name in "ab"},
        pairs=(PairSummary("a", "b", 8, SURE, SURE, SURE, "agreement"),),
        views={view: {"applied": summary} for view in VIEWS},
        slices={},
    )
    document = conflict_document([], findings)
    assert list(document) == [
        "batches",
        "rewards",
        "intervals",
        "directions",
        "signal",
        "held_out",
        "fresh",
        "reliability",
        "gradients",
        "pairs",
        "slices",
    ]
    assert document["reliability"]["a"] == {"split_half_cosine": 0.5, "interval": [0.4, 0.6]}
    assert document["pairs"][0]["intervals"]["corrected_cosine"] == [0.4, 0.6]
