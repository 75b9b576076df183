from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from marblecli.errors import MarbleError
from marblecli.rewards.kit.registration import register_alone

InstallPlugin = Callable[..., None]

PLUGIN = """
{extra}
from marblecli.rewards import RewardSpec, hookimpl

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("half", "", print))
"""


def test_a_plugin_that_only_registers_is_quick_and_loads_nothing(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin("quick", PLUGIN.format(extra="print('hello')"))
    found = register_alone("plugin_quick")
    assert 0 < found.seconds < 1
    assert (found.heavy, found.weights, found.hosts) == ((), (), ())


def test_heavy_libraries_weights_and_connections_are_reported(
    install_plugin: InstallPlugin, tmp_path: Path
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    extra = f"""
import socket, time
import scipy
open({str(weights)!r}).close()
with socket.socket() as line:
    line.connect_ex(("127.0.0.1", 9))
time.sleep(0.3)
"""
    install_plugin("greedy", PLUGIN.format(extra=extra))
    found = register_alone("plugin_greedy")
    assert found.seconds > 0.3
    assert found.heavy == ("scipy",)
    assert found.weights == (str(weights),)
    assert found.hosts == ("('127.0.0.1', 9)",)


@pytest.mark.parametrize(
    ("extra", "reason"),
    [("raise RuntimeError('no driver')", "RuntimeError: no driver"), ("hookimpl = print", "hook")],
)
def test_the_error_for_a_plugin_that_fails_is_one_line(
    install_plugin: InstallPlugin, extra: str, reason: str
) -> None:
    code = PLUGIN.format(extra=extra)
    install_plugin("broken", code.replace("@hookimpl", "") if "hook" in extra else code)
    with pytest.raises(MarbleError, match=reason) as caught:
        register_alone("plugin_broken")
    assert "\n" not in str(caught.value)
