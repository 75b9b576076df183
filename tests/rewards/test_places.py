from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from marblecli.rewards.places import WHOLE, describe_fault, plugin_place

PLUGIN = """
import json

def build(options, device):
    return score

def score(images):
    return helper(images)

def helper(images):
    return images.foo

def library(text):
    return json.loads(text)
"""


@pytest.fixture
def plugin(tmp_path: Path) -> ModuleType:
    path = tmp_path / "plugin.py"
    path.write_text(PLUGIN)
    spec = importlib.util.spec_from_file_location("a_plugin", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fault(plugin: ModuleType, name: str, argument: object) -> Exception:
    try:
        getattr(plugin, name)(argument)
    except (AttributeError, ValueError) as error:
        return error
    raise AssertionError("it fails")


def test_a_fault_has_the_file_and_line_of_the_plugins_innermost_frame(plugin: ModuleType) -> None:
    error = fault(plugin, "score", 1)
    assert describe_fault(error, plugin.build) == (
        f"AttributeError: 'int' object has no attribute 'foo' ({plugin.__file__}:11)"
    )


def test_a_librarys_frame_isnt_the_plugins(plugin: ModuleType) -> None:
    error = fault(plugin, "library", "{")
    assert plugin_place(error, plugin.build) == f"{plugin.__file__}:14"
    assert Path(plugin_place(error, None).partition(":")[0]).name == "decoder.py"


def test_an_error_that_was_never_raised_has_no_place() -> None:
    assert describe_fault(ValueError("a\nb"), None) == "ValueError: a b"


@pytest.mark.parametrize("asked", [False, True])
def test_the_whole_traceback_is_shown_if_it_is_asked_for(
    asked: bool,
    plugin: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(WHOLE, "1") if asked else monkeypatch.delenv(WHOLE, raising=False)
    describe_fault(fault(plugin, "score", 1), plugin.build)
    shown = capsys.readouterr().err
    assert ("Traceback (most recent call last)" in shown) is asked
    assert ("return images.foo" in shown) is asked
