"""What ``[model]`` may set for Stable Diffusion 3 alone."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from marblecli.models.family import FamilyOptions
from marblecli.settings import ModelSettings


class SD3Options(FamilyOptions):
    """Both are about the third text encoder, T5."""

    max_sequence_length: Annotated[int, Field(ge=1, le=512)] = 128
    """Tokens of a prompt that the T5 encoder reads."""
    t5: Literal["full", "8bit", "none"] = "full"
    """``full``: the T5 encoder as it is; ``8bit``: its linear layers in 8 bits (torchao);
    ``none``: skip it and use zeros for its embeddings."""


def sd3_options(model: ModelSettings) -> SD3Options:
    """The recipe's, with their defaults. Raises pydantic's ValidationError for unchecked ones."""
    return SD3Options.model_validate(dict(model.options))
