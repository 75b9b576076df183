from __future__ import annotations

from typing import get_args

import pytest

from marblecli.cli.balancers import METHOD_NAMES, parse_balancer
from marblecli.errors import BadInputError
from marblecli.methods.torchjd import WEIGHTINGS
from marblecli.settings import BalanceMethod


def test_the_methods_are_those_that_a_recipe_may_name():
    assert set(METHOD_NAMES) == set(get_args(BalanceMethod))


@pytest.mark.parametrize("name", sorted(set(METHOD_NAMES) - {"single"}))
def test_every_method_is_taken_by_its_name(name):
    assert parse_balancer(name).method == name


def test_one_reward_alone():
    settings = parse_balancer("single:shapes-colour")
    assert (settings.method, settings.reward) == ("single", "shapes-colour")
    assert parse_balancer("single,reward=shapes-colour") == settings


def test_settings_of_a_recipe_s_balance():
    settings = parse_balancer("marble,memory=0.9,priorities.ocr=2,priorities.a-b=3,solver=cvxpy")
    assert settings.memory == 0.9
    assert settings.priorities == {"ocr": 2.0, "a-b": 3.0}
    assert settings.solver == "cvxpy"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("equall", r"unknown balancer 'equall' \(did you mean 'equal'\?\); there are: applied, eq"),
        ("single", 'needs a reward = "NAME"; write single:REWARD'),
        ("marble,memory=2", "balancer marble,memory=2: memory: must be below 1.0, got 2"),
        ("marble,memori=0.5", r"memori: unknown key \(did you mean 'memory'\?\)"),
        ("marble,memory", "expected METHOD,key=value,... and not 'memory'"),
        ("marble,solver.x=1,solver=wolfe,solver.y=1", "solver is set already"),
        ("equal,priorities.ocr=2", "only the method marble takes priorities"),
        ("marble,solver=wolf", "solver: must be 'wolfe'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(BadInputError, match=message) as caught:
        parse_balancer(text, ("applied",))
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchjd", None)
    assert "upgrad" in WEIGHTINGS
    with pytest.raises(BadInputError, match="pip install 'marblecli"):
        parse_balancer("torchjd:upgrad")
