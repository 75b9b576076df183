from __future__ import annotations

import json
from dataclasses import replace

import pytest

from marblecli.conflicts.record import (
    ConflictRecord,
    FreshRecord,
    PartsRecord,
    ScoresRecord,
    SignalRecord,
    SliceRecord,
)
from marblecli.errors import BadInputError
from marblecli.runs.records import conflict_to_json, read_conflicts

RECORD = ConflictRecord(
    step=3,
    rewards=("ocr", "geneval"),
    valid=(8, 0),
    norms=(2.0, 0.0),
    gram=((4.0, 0.0), (0.0, 0.0)),
    simplex_weights=(1.0, 0.0),
    coefficients=(1.0, 0.0),
    cosines={"applied": (1.0, None), "update": (0.5, None), "weighted-sum": (1.0, None)},
    signal_cosines={"applied": (0.9, None)},
    parts=PartsRecord(*[((value, 0.0), (0.0, 0.0)) for value in (1.0, 2.0, 3.0, 4.0, 5.0)]),
    slices={"source a": SliceRecord((1.0, 0.0), ((2.0, 0.0), (0.0, 0.0)))},
    fresh=FreshRecord(
        norms=(1.0, 0.0),
        products=((2.0, 0.0), (0.0, 0.0)),
        signal_norms=(0.5, 0.0),
        signal_products=((1.0, 0.0), (0.0, 0.0)),
        cross=((0.1, 0.0), (0.0, 0.0)),
        cosines={"applied": (1.0, None)},
        signal_cosines={"applied": (0.7, None)},
    ),
    scores=ScoresRecord(
        coverage=(1.0, 0.0),
        rewards=((0.5, 0.0), (0.0, 0.0)),
        advantages=((0.9, 0.0), (0.0, 0.0)),
        scales=(0.7, 1e-4),
    ),
    signal=SignalRecord(((0.8, 0.0), (0.0, 0.0)), (2.1, 0.0)),
    halves="levels",
)


def write(run_dir, *lines):
    (run_dir / "conflicts.jsonl").write_text("".join(f"{line}\n" for line in lines))


def test_the_keys_that_scripts_rely_on():
    assert conflict_to_json(RECORD) == {
        "step": 3,
        "rewards": ["ocr", "geneval"],
        "valid": [8, 0],
        "norms": [2.0, 0.0],
        "gram": [[4.0, 0.0], [0.0, 0.0]],
        "simplex_weights": [1.0, 0.0],
        "coefficients": [1.0, 0.0],
        "cosines": {"applied": [1.0, None], "update": [0.5, None], "weighted-sum": [1.0, None]},
        "signal_cosines": {"applied": [0.9, None]},
        "parts": {
            "first": [[1.0, 0.0], [0.0, 0.0]],
            "second": [[2.0, 0.0], [0.0, 0.0]],
            "cross": [[3.0, 0.0], [0.0, 0.0]],
            "pull": [[4.0, 0.0], [0.0, 0.0]],
            "signal_pull": [[5.0, 0.0], [0.0, 0.0]],
        },
        "slices": {"source a": {"norms": [1.0, 0.0], "products": [[2.0, 0.0], [0.0, 0.0]]}},
        "fresh": {
            "norms": [1.0, 0.0],
            "products": [[2.0, 0.0], [0.0, 0.0]],
            "signal_norms": [0.5, 0.0],
            "signal_products": [[1.0, 0.0], [0.0, 0.0]],
            "cross": [[0.1, 0.0], [0.0, 0.0]],
            "cosines": {"applied": [1.0, None]},
            "signal_cosines": {"applied": [0.7, None]},
        },
        "scores": {
            "coverage": [1.0, 0.0],
            "rewards": [[0.5, 0.0], [0.0, 0.0]],
            "advantages": [[0.9, 0.0], [0.0, 0.0]],
            "scales": [0.7, 1e-4],
        },
        "signal": {"gram": [[0.8, 0.0], [0.0, 0.0]], "norms": [2.1, 0.0]},
        "halves": "levels",
    }


def test_what_is_written_is_read_back(tmp_path):
    assert RECORD.part_grams is not None
    line = json.dumps(conflict_to_json(RECORD))
    write(tmp_path, line, line)
    assert read_conflicts(tmp_path) == (RECORD, RECORD)


@pytest.mark.parametrize("dropped", [(), ("parts",), ("parts", "fresh", "slices")])
def test_a_batch_without_parts_has_an_empty_object_and_an_old_one_has_no_key(tmp_path, dropped):
    line = conflict_to_json(replace(RECORD, parts=None, fresh=None, slices={}))
    assert line["parts"] == {}
    write(tmp_path, json.dumps({key: value for key, value in line.items() if key not in dropped}))
    (record,) = read_conflicts(tmp_path)
    assert (record.parts, record.fresh, record.slices) == (None, None, {})


def test_unknown_keys_and_a_torn_last_line_are_left_out(tmp_path):
    line = json.dumps({**conflict_to_json(RECORD), "split_half": [0.1, 0.2]})
    (tmp_path / "conflicts.jsonl").write_text(f'{line}\n{{"step": 4, "rew')
    assert read_conflicts(tmp_path) == (RECORD,)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"norms": [1.0]}, "line 2: norms: 1 entries for 2 rewards"),
        ({"gram": [[4.0, 0.0], [0.0]]}, "line 2: gram row 2: 1 entries for 2 rewards"),
        ({"cosines": {"applied": [1.0]}}, "line 2: cosines.applied: 1 entries for 2 rewards"),
        ({"norms": ["x", 1.0]}, "line 2: norms.0: "),
        ({"gram": None}, "line 2: gram: "),
        ({"parts": {"cross": [[1.0, 0.0], [0.0, 0.0]]}}, "line 2: parts.first: Field required"),
    ],
)
def test_a_broken_line_is_named(tmp_path, change, message):
    good = conflict_to_json(RECORD)
    write(tmp_path, json.dumps(good), json.dumps({**good, **change}))
    with pytest.raises(BadInputError, match=message) as caught:
        read_conflicts(tmp_path)
    assert "\n" not in str(caught.value)


def test_what_is_no_run_directory_is_named(tmp_path):
    with pytest.raises(BadInputError, match="is no run directory: start one with"):
        read_conflicts(tmp_path / "absent")
    with pytest.raises(BadInputError, match=r"has no conflicts\.jsonl"):
        read_conflicts(tmp_path)


def test_a_run_without_a_measured_batch_says_so(tmp_path):
    write(tmp_path)
    with pytest.raises(BadInputError, match="no measured batch yet"):
        read_conflicts(tmp_path)
