from __future__ import annotations

import json
import platform
from importlib.metadata import version

from marblecli.runs.environment import describe_environment


def test_it_names_versions_platform_and_device() -> None:
    found = describe_environment()
    assert found["python"] == platform.python_version()
    assert found["packages"]["torch"] == version("torch")
    assert found["packages"]["marblecli"] == version("marblecli")
    assert found["device"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_it_names_the_plugins() -> None:
    found = describe_environment()["packages"]
    assert found["marble-reward-shapes"] == version("marble-reward-shapes")


def test_it_tells_nothing_of_the_user() -> None:
    assert set(describe_environment()) == {"python", "platform", "device", "packages"}
    assert platform.node() not in json.dumps(describe_environment()["packages"])
