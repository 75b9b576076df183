from __future__ import annotations

import json

import numpy as np

from marblecli.report.solve_output import SHOWN_BATCHES, show_batches, show_single
from marblecli.report.solved import Failed, Method, Solved
from marblecli.types import Balance, GradientStats

NAMES = ("ocr", "geneval")


def solved(weights, cosines):
    stats = GradientStats(NAMES, np.eye(2), np.array([True, True]))
    balance = Balance(np.array(weights), np.array(weights), kkt_residual=0.0)
    return Solved(stats, balance, np.array(cosines), certificate=None)


def test_one_gram_without_other_methods_has_no_comparison(capsys):
    show_single(("equal", solved([0.5, 0.5], [0.7, 0.7])), [], as_json=False)
    shown = capsys.readouterr().out
    assert "compared" not in shown
    assert "certificate" not in shown
    show_single(("equal", solved([0.5, 0.5], [0.7, 0.7])), [], as_json=True)
    assert "what_if" not in json.loads(capsys.readouterr().out)


def test_many_batches_show_the_last_ones(capsys):
    one = solved([0.5, 0.5], [0.7, np.nan])
    batches = [f"step {step}" for step in range(101, 131)]
    method = Method("equal", (one,) * 29 + (Failed("no gradient"),))
    show_batches(batches, NAMES, method, [], as_json=False)
    shown = capsys.readouterr().out
    assert f"{30 - SHOWN_BATCHES} earlier batches left out; --json has them." in shown
    assert "step 110 " not in shown
    assert "step 111 " in shown
    last = next(line for line in shown.splitlines() if "step 130 " in line)
    assert last.count("-") == 4
    show_batches(batches, NAMES, method, [], as_json=True)
    document = json.loads(capsys.readouterr().out)
    assert len(document["batches"]) == 30
    assert document["batches"][-1]["error"] == "no gradient"
    assert document["summary"]["batches"] == 29
    assert document["summary"]["per_reward"]["geneval"]["cosine_mean"] is None
