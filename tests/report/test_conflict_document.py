from __future__ import annotations

import dataclasses
import json

from marblecli.conflicts.estimates import NOTHING
from marblecli.conflicts.findings import Findings, RewardFacts
from marblecli.report.conflict_document import conflict_document
from marblecli.report.conflict_report import Subject, conflict_report
from marblecli.types import Json
from support.findings import absent, findings_of, pair, records_of


def document_of(findings: Findings) -> Json:
    records = records_of(list(findings.rewards))
    report = conflict_report(Subject("runs/demo"), records, findings)
    document = conflict_document(records, findings, report)
    return json.loads(json.dumps(document, allow_nan=False))


def test_the_keys_that_scripts_rely_on() -> None:
    chance = {"batch": {"applied": 0.0, "update": float("nan")}}
    document = document_of(dataclasses.replace(findings_of("ab"), chance=chance))
    assert set(document) >= {
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
    }
    assert document["chance"] == {"batch": {"applied": 0.0, "update": None}}
    assert set(document["fresh"]) == {"whole", "signal"}
    assert document["reliability"]["a"] == {"split_half_cosine": 0.1, "interval": [-0.1, 0.3]}
    assert document["gradients"]["a"]["pull_share"] == 0.1
    (found,) = document["pairs"]
    assert found["fought_share"] == 1.0
    assert found["intervals"]["cosine_mean"] == [-0.6, -0.4]


def test_the_verdict_is_there_for_people_and_for_scripts() -> None:
    verdict = document_of(findings_of("ab"))["verdict"]
    assert "conflicts with b" in verdict["sentences"][0]
    assert (verdict["judged_by"], verdict["batches"]) == ("fresh-signal", 8)
    assert (verdict["conflicting"], verdict["agreeing"]) == (["b"], ["a"])


def test_the_tables_are_those_that_people_see() -> None:
    tables = document_of(findings_of("ab"))["tables"]
    assert tables[0]["title"] == "Worst reward's mean cosine; share of batches in conflict"
    assert tables[0]["rows"][0][0] == "applied"
    assert all(len(row) == len(table["columns"]) for table in tables for row in table["rows"])


def test_what_is_no_number_is_null() -> None:
    found = findings_of("ab")
    nothing = {"applied": absent("ab")}
    empty = dataclasses.replace(
        found,
        rewards={name: RewardFacts(float("nan"), NOTHING, NOTHING, NOTHING) for name in "ab"},
        pairs=(dataclasses.replace(pair("a", "b"), cosine=NOTHING, conflict_share=NOTHING),),
        views=dict.fromkeys(found.views, nothing),
        slices={"source x": nothing},
    )
    document = document_of(empty)
    assert document["directions"]["applied"]["worst_reward"] is None
    assert document["directions"]["applied"]["intervals"]["fought_share"] is None
    assert document["pairs"][0]["corrected_cosine"] is None
    assert document["gradients"]["a"]["intervals"] == {"norm": None, "pull_share": None}
    assert document["verdict"]["judged_by"] is None
