from __future__ import annotations

import json
from collections.abc import Callable

from typer.testing import CliRunner

from marblecli.cli.rewards.app import rewards_app

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


def test_a_reward_is_listed_with_what_it_needs_and_where_it_comes_from(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("strange-rewards", GOOD.format(own="own"), version="2.1")
    (line,) = [line for line in output().splitlines() if "half" in line]
    for part in ("text", "-1 to 2.5", "strange-rewards 2.1", "Half [of] it."):
        assert part in line


def test_a_condition_is_told(install_plugin: InstallPlugin) -> None:
    install_plugin("strange-rewards", GOOD.format(own="own"))
    (line,) = [line for line in output().splitlines() if "picky-own" in line]
    assert "tag, its condition" in line
    rewards = {reward["name"]: reward for reward in json.loads(output("--json"))["rewards"]}
    assert rewards["picky-own"]["conditional"]


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
