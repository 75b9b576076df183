from __future__ import annotations

import json

import pytest

from marblecli.rewards.kit.report import CheckResult, Report

GOOD = CheckResult("shape", "ok", "8 values")
BAD = CheckResult("range", "failed", "2 is outside of the range 0 to 1")
LATE = CheckResult("time", "not run", "scores failed")


def test_a_report_is_ok_if_all_checks_were_run_and_held() -> None:
    assert Report("r", (GOOD,), {}).ok
    assert not Report("r", (GOOD, BAD), {}).ok
    assert not Report("r", (GOOD, LATE), {}).ok


def test_results_are_found_by_name() -> None:
    report = Report("r", (GOOD, BAD), {})
    assert report["range"] is BAD
    with pytest.raises(KeyError):
        report["colour"]


def test_the_raised_error_names_all_failures() -> None:
    Report("r", (GOOD,), {}).raise_if_failed()
    with pytest.raises(AssertionError) as caught:
        Report("r", (GOOD, BAD, LATE), {}).raise_if_failed()
    assert str(caught.value).splitlines() == [
        "reward 'r' breaks its contract",
        "range: failed: 2 is outside of the range 0 to 1",
        "time: not run: scores failed",
    ]


@pytest.mark.parametrize("result", [BAD, LATE])
def test_a_single_result_can_raise(result: CheckResult) -> None:
    GOOD.raise_if_failed()
    with pytest.raises(AssertionError, match=f"{result.name}: {result.status}: {result.detail}"):
        result.raise_if_failed()


def test_a_report_is_json() -> None:
    document = Report("r", (GOOD, BAD), {"memory_mb": 3.5}).to_json()
    assert json.loads(json.dumps(document)) == {
        "reward": "r",
        "ok": False,
        "checks": [
            {"name": "shape", "status": "ok", "detail": "8 values"},
            {"name": "range", "status": "failed", "detail": "2 is outside of the range 0 to 1"},
        ],
        "measured": {"memory_mb": 3.5},
    }
