from __future__ import annotations

import subprocess
import sys

import pytest

from marblecli.rewards.host import discover


def test_two_rewards_are_found_as_a_strangers_are() -> None:
    catalog = discover()
    ours = {n for n, r in catalog.rewards.items() if r.distribution == "marble-reward-remote"}
    assert ours == {"http", "vlm-judge"}


def test_registering_imports_no_client() -> None:
    code = "import sys, marble_reward_remote.plugin;"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'openai', 'urllib3', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "options", "problem"),
    [
        ("http", {}, "rewards.http.url: is required but missing"),
        ("http", {"url": "gpu-box"}, "rewards.http.url: must match"),
        (
            "http_geneval",
            {"url": "http://a", "rewrad": "x"},
            "unknown key (did you mean 'reward'?)",
        ),
        ("vlm-judge", {"question": "?"}, "rewards.vlm-judge.question: must hold {prompt}"),
    ],
)
def test_wrong_options_are_named(name: str, options: dict[str, str], problem: str) -> None:
    (found,) = discover().check_options(name, options)
    assert problem in str(found)
