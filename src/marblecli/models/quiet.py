"""The model libraries' own progress bars and notices, kept off the user's screen."""

from __future__ import annotations

import os


def quiet_libraries() -> None:
    """Call it before the other modules of this room are imported: they load those libraries."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("DIFFUSERS_VERBOSITY", "error")
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    diffusers_logging.disable_progress_bar()
    transformers_logging.disable_progress_bar()
