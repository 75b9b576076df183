from __future__ import annotations

import pytest

from marblecli.cli.method_text import parse_method
from marblecli.errors import BadInputError
from marblecli.methods.torchjd import WEIGHTINGS
from support.methods import METHODS


@pytest.mark.parametrize("name", sorted(set(METHODS) - {"single"}))
def test_every_method_is_taken_by_its_name(name):
    assert parse_method(name).method == name


def test_one_reward_alone():
    settings = parse_method("single:shapes-colour")
    assert (settings.method, settings.options) == ("single", {"reward": "shapes-colour"})
    assert parse_method("single,reward=shapes-colour") == settings


def test_settings_of_a_recipe_s_balance():
    settings = parse_method("marble,memory=0.9,priorities.ocr=2,priorities.a-b=3,solver=cvxpy")
    assert settings.memory == 0.9
    assert settings.options == {"priorities": {"ocr": 2, "a-b": 3}, "solver": "cvxpy"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("equall", r"unknown method 'equall' \(did you mean 'equal'\?\); there are: applied, eq"),
        ("single", "reward: is required but missing; write single:REWARD"),
        ("marble,memory=2", "method marble,memory=2: memory: must be below 1.0, got 2"),
        ("marble,memori=0.5", r"memori: unknown key \(did you mean 'memory'\?\)"),
        ("marble,memory", "expected METHOD,key=value,... and not 'memory'"),
        ("marble,solver.x=1,solver=wolfe,solver.y=1", "solver is set already"),
        ("equal,priorities.ocr=2", "only the method marble takes priorities"),
        ("marble,solver=wolf", "solver: must be 'wolfe'"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(text, message):
    with pytest.raises(BadInputError, match=message) as caught:
        parse_method(text, ("applied",))
    assert "\n" not in str(caught.value)


def test_a_library_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchjd", None)
    assert "upgrad" in WEIGHTINGS
    with pytest.raises(BadInputError, match="pip install 'marblecli"):
        parse_method("torchjd:upgrad")
