"""That a whole run prints nothing of theirs is held by tests/cli/test_training.py."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from marblecli.models.quiet import quiet_libraries

VARIABLES = ("TRANSFORMERS_VERBOSITY", "DIFFUSERS_VERBOSITY")


@pytest.fixture(autouse=True)
def _loud(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in VARIABLES:
        monkeypatch.setenv(variable, "info")
    for logging in (diffusers_logging, transformers_logging):
        logging.enable_progress_bar()


def test_progress_bars_are_off() -> None:
    quiet_libraries()
    assert not diffusers_logging.is_progress_bar_enabled()
    assert not transformers_logging.is_progress_bar_enabled()


def test_notices_are_off_unless_the_user_asked_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLES[0])
    quiet_libraries()
    assert [os.environ[variable] for variable in VARIABLES] == ["error", "info"]


def test_the_libraries_are_loaded_while_nothing_is_collected() -> None:
    """Afterwards garbage is collected as before, but what the libraries are made of is left out."""
    code = (
        "import gc, sys; from marblecli.models.quiet import quiet_libraries; quiet_libraries(); "
        "assert {'diffusers', 'peft', 'torch'} <= sys.modules.keys(); "
        "print(gc.isenabled(), gc.get_freeze_count() > 100_000)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "True"]
