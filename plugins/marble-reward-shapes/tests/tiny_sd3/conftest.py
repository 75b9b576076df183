from __future__ import annotations

from pathlib import Path

import pytest
from diffusers import StableDiffusion3Pipeline
from diffusers.utils.logging import set_verbosity_error

PACKAGE = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def shipped() -> StableDiffusion3Pipeline:
    """The committed weights, loaded as a user would: with nothing but their folder."""
    return _loaded("tiny-sd3")


@pytest.fixture(scope="session")
def loose() -> StableDiffusion3Pipeline:
    """The quickstart's base model."""
    return _loaded("loose-sd3")


def _loaded(folder: str) -> StableDiffusion3Pipeline:
    set_verbosity_error()
    pipeline = StableDiffusion3Pipeline.from_pretrained(PACKAGE / folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
