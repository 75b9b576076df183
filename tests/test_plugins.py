from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from marblecli.plugins import Installed, Kind, NoOptions, check_schema, discover

InstallPlugin = Callable[..., None]


@dataclass(frozen=True)
class Thing:
    name: str


def checked(spec: Any) -> Thing:
    if not isinstance(spec, str):
        raise TypeError(f"{spec!r} is no text")
    return Thing(spec)


THINGS = Kind("method", "marble_register_methods", checked)
METHODS_ONLY = """
from marblecli.plugins import hookimpl

@hookimpl
def marble_register_methods(register):
    for name in {names!r}:
        register(name)
"""
REWARDS_ONLY = """
from marblecli.plugins import hookimpl

@hookimpl
def marble_register_rewards(register):
    pass
"""


def test_a_plugin_of_one_kind_is_no_failure_of_the_other(install_plugin: InstallPlugin) -> None:
    install_plugin("methods-of-mine", METHODS_ONLY.format(names=["loudest"]))
    install_plugin("rewards-of-mine", REWARDS_ONLY)
    found = discover(THINGS)
    assert found.things["loudest"].distribution == "methods-of-mine"
    assert found.failures == ()
    from marblecli.rewards.host import discover as discover_rewards

    assert not [f for f in discover_rewards().failures if f.distribution == "methods-of-mine"]


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("x = 1", "no hook marked with @hookimpl: marble_register_rewards or"),
        (METHODS_ONLY.format(names=[3]), "TypeError: 3 is no text"),
        (METHODS_ONLY.format(names=["a", "a"]), "it registers 'a' twice"),
        (METHODS_ONLY.replace("(register)", "(register, other)").format(names=[]), "other"),
    ],
)
def test_a_broken_plugin_is_recorded_in_one_line(
    code: str, message: str, install_plugin: InstallPlugin
) -> None:
    install_plugin("broken", code)
    (failure,) = discover(THINGS).failures
    assert message in str(failure)
    assert "\n" not in str(failure)


def test_a_name_of_ours_that_a_stranger_takes_is_a_clash(install_plugin: InstallPlugin) -> None:
    install_plugin("taker", METHODS_ONLY.format(names=["equal"]))
    found = discover(THINGS, (Installed(Thing("equal"), "marblecli", "1"),))
    assert "equal" not in found.things
    (clash,) = found.clashes
    assert "marblecli 1 and taker 1.0" in str(clash)


class Loose(BaseModel):
    gain: float = 1.0


class Greedy(NoOptions):
    device: str = "cpu"


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (dict, "options is a pydantic model"),
        (Loose, "options must forbid extra keys"),
        (Greedy, "the options device are marble's own"),
    ],
)
def test_a_schema_that_would_hide_mistakes_is_refused(schema: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        check_schema("method 'x'", schema, frozenset({"device"}))
