from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import StableDiffusion3Pipeline
from diffusers.utils.logging import set_verbosity_error

SHIPPED = Path(__file__).parents[2] / "tiny-sd3"


@pytest.fixture(scope="session")
def shipped() -> StableDiffusion3Pipeline:
    """The committed weights, loaded as a user would: with nothing but their folder."""
    set_verbosity_error()
    pipeline = StableDiffusion3Pipeline.from_pretrained(SHIPPED)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
