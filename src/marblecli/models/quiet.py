"""Load the model libraries, without their own progress bars and notices on the user's screen."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

_HEAVY = ("diffusers.training_utils", "diffusers.pipelines.pipeline_utils", "peft")
"""These bring what every family loads."""


def quiet_libraries() -> None:
    """Call it before the other modules of this room are imported: they load those libraries."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    if any(name not in sys.modules for name in _HEAVY):
        with _nothing_collected():
            for name in _HEAVY:
                import_module(name)
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()


@contextmanager
def _nothing_collected() -> Iterator[None]:
    """Imports make a million objects and no garbage, and collections go through all of them."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        # Later collections leave alone what is there by now.
        gc.freeze()
        if enabled:
            gc.enable()
