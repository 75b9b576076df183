from __future__ import annotations

import pytest

from marblecli.methods.checks import balance_problems, check_available, resolved
from marblecli.settings import BalanceSettings

REWARDS = ("colour", "ocr")


def problems(table):
    settings = BalanceSettings.model_validate(table)
    return [str(problem) for problem in balance_problems(settings, REWARDS)]


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"method": "marbel"}, "balance.method: unknown method 'marbel' (did you mean 'marble'?)"),
        (
            {"phases": [{"method": "equall", "until": 3}]},
            "balance.phases.0.method: unknown method 'equall' (did you mean 'equal'?)",
        ),
        (
            {"solver": "clarabel"},
            "balance.solver: must be 'wolfe', 'cvxpy' or 'cvxpy:NAME', got 'clarabel'",
        ),
        ({"solvr": "wolfe"}, "balance.solvr: unknown key (did you mean 'solver'?)"),
        ({"memori": 0.5}, "balance.memori: unknown key (did you mean 'memory'?)"),
        ({"method": "single"}, "balance.reward: is required but missing"),
        (
            {"phases": [{"method": "single", "until": 5}]},
            "balance.phases.0.reward: is required but missing",
        ),
        (
            {"method": "equal", "floors": {"ocr": 0.1}},
            "balance.floors: only the method marble takes floors, not equal",
        ),
        (
            {"phases": [{"method": "equal", "until": 5, "floors": {"ocr": 0.1}}]},
            "balance.phases.0.floors: only the method marble takes floors, not equal",
        ),
        (
            {"floors": {"ocr": 0.5, "colour": 0.5}},
            "balance.floors: must sum to less than 1, got 1",
        ),
        ({"floors": {"ocr": -0.5}}, "balance.floors.ocr: must be at least 0.0, got -0.5"),
        ({"priorities": {"ocr": 0.0}}, "balance.priorities.ocr: must be above 0.0, got 0.0"),
        (
            {"floors": {"ocrr": 0.1}},
            "balance.floors: no reward 'ocrr' (did you mean 'ocr'?); choose from colour, ocr",
        ),
        (
            {"method": "single", "reward": "ocrr"},
            "balance.reward: no reward 'ocrr' (did you mean 'ocr'?); choose from colour, ocr",
        ),
        ({"solver": "cvxpy:none"}, "balance.method: unknown solver 'cvxpy:none'"),
    ],
)
def test_each_fault_is_named_at_its_key(table, expected):
    (found,) = problems(table)
    assert found.startswith(expected)


def test_all_faults_are_found_at_once():
    table = {"method": "marble", "solver": "wolf", "floors": {"ocrr": 0.1}, "typo": 1}
    assert len(problems({**table, "solver": "wolfe"})) == 2
    assert len(problems(table)) == 2


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"method": "equal", "phases": [{"method": "marble", "until": 5}], "floors": {"ocr": 0.1}},
        {"phases": [{"method": "single", "until": 5}], "reward": "ocr"},
        {"phases": [{"method": "single", "until": 5, "reward": "ocr"}]},
        {"method": "sequential", "stage_steps": 3},
        {"method": "upgrad"},
        {"method": "equal", "solver": "wolfe", "floors": {}, "stage_steps": 100},
    ],
)
def test_options_serve_every_method_that_is_named(table):
    assert problems(table) == []


def test_rewards_are_not_checked_where_they_are_unknown():
    assert balance_problems(BalanceSettings.model_validate({"floors": {"ocrr": 0.1}})) == []


def test_the_first_fault_is_an_error_by_itself():
    with pytest.raises(Exception, match="solver: must be") as caught:
        check_available(BalanceSettings.model_validate({"solver": "wolf"}))
    assert getattr(caught.value, "exit_code", None) == 2


def test_resolved_settings_hold_the_options_of_their_methods_and_no_other():
    old = {"solver": "wolfe", "priorities": {}, "floors": {}, "stage_steps": 100}
    marble = resolved(BalanceSettings.model_validate(old))
    assert marble.options == {"solver": "wolfe", "priorities": {}, "floors": {}}
    assert resolved(BalanceSettings()) == marble
    assert resolved(BalanceSettings(method="equal", **old)) == resolved(
        BalanceSettings(method="equal")
    )


def test_resolved_phases_keep_their_own_options():
    table = {"phases": [{"method": "single", "until": 5, "reward": "ocr"}]}
    found = resolved(BalanceSettings.model_validate(table))
    assert found.phases[0].options == {"reward": "ocr"}
    assert resolved(found) == found
