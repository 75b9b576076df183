from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable

from typer.testing import CliRunner

from marblecli.cli.rewards.app import rewards_app
from marblecli.errors import BadInputError

InstallPlugin = Callable[..., None]

GOOD = """
from marblecli.rewards import RewardSpec, hookimpl

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("half", "Half [of] it.", print, metadata=("text",), range=(-1, 2.5)))
    register(RewardSpec("{own}", "Its own.", print, range=(0, float("inf"))))
    register(RewardSpec("picky-{own}", "", print, condition=bool, metadata=("tag",)))
"""


def output(*arguments: str) -> str:
    result = CliRunner().invoke(rewards_app, ["list", *arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_reward_is_listed_in_one_line_with_its_package(install_plugin: InstallPlugin) -> None:
    install_plugin("strange-rewards", GOOD.format(own="own"), version="2.1")
    (line,) = [line for line in output().splitlines() if line.startswith("half ")]
    assert line.split(maxsplit=2) == ["half", "strange-rewards", "Half [of] it."]


def test_all_that_is_known_of_one_reward_is_shown_by_its_name(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("strange-rewards", GOOD.format(own="own"), version="2.1")
    text = output("half", "picky-own")
    for part in ("half: Half [of] it.", "text", "-1 to 2.5", "strange-rewards 2.1"):
        assert part in text
    assert "tag, its condition" in text
    rewards = {one["name"]: one for one in json.loads(output("--json", "picky-own"))["rewards"]}
    assert rewards["picky-own"]["conditional"]
    assert list(rewards) == ["picky-own"]


def test_a_name_that_isnt_installed_is_an_error() -> None:
    result = CliRunner().invoke(rewards_app, ["list", "shapes-color"])
    assert isinstance(result.exception, BadInputError)


def test_the_shipped_rewards_are_a_screenful_of_80_columns() -> None:
    command = (sys.executable, "-m", "marblecli", "rewards", "list")
    env = {**os.environ, "COLUMNS": "80"}
    lines = subprocess.run(
        command, env=env, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80


def test_failures_and_clashes_stand_below_with_their_reason(install_plugin: InstallPlugin) -> None:
    install_plugin("broken", "raise RuntimeError('no driver')")
    install_plugin("first", GOOD.format(own="one"))
    install_plugin("second", GOOD.format(own="two"))
    text = output()
    assert "plugin 'broken' of broken failed: RuntimeError: no driver" in text
    assert "reward 'half' is registered by first 1.0 and second 1.0" in text
    assert "shapes-colour" in text


def test_json_is_one_document(install_plugin: InstallPlugin) -> None:
    install_plugin("broken", "raise RuntimeError('no driver')")
    install_plugin("first", GOOD.format(own="one"))
    install_plugin("second", GOOD.format(own="two"))
    document = json.loads(output("--json"))
    rewards = {reward["name"]: reward for reward in document["rewards"]}
    assert rewards["one"] == {
        "name": "one",
        "summary": "Its own.",
        "metadata": [],
        "conditional": False,
        "range": [0, None],
        "options": [],
        "distribution": "first",
        "version": "1.0",
    }
    assert rewards["shapes-letters"]["options"] == ["scoring"]
    assert document["clashes"] == [{"name": "half", "distributions": ["first", "second"]}]
    assert document["failures"] == [
        {"entry_point": "broken", "distribution": "broken", "message": "RuntimeError: no driver"}
    ]
