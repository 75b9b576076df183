"""The protocol for scoring by a reward over HTTP, version 1: JSON and PNG, but no code.

``POST /v1/score`` with a :class:`ScoreRequest` is answered by a :class:`ScoreReply`;
``GET /v1/reward`` is answered by a :class:`Description`. Other answers are an :class:`ErrorReply`
with status 400 (the request is invalid), 404 (no such path or reward) or 413 (too large).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

VERSION = 1
SCORE_PATH = "/v1/score"
REWARD_PATH = "/v1/reward"
MAX_BYTES = 1 << 30
"""The largest request that is read."""


class _Message(BaseModel):
    # A later version may add fields: unknown fields are ignored.
    model_config = ConfigDict(extra="ignore", frozen=True)


class ScoreRequest(_Message):
    """B images to score."""

    images: tuple[str, ...]
    """B PNG files of 8-bit RGB, in base64."""
    prompts: tuple[str, ...]
    """B texts."""
    metadata: tuple[Mapping[str, Any], ...]
    """B objects."""
    reward: str | None = None
    """The reward that the client expects; if the server has another one, it refuses."""

    @model_validator(mode="after")
    def _same_length(self) -> ScoreRequest:
        lengths = {len(self.images), len(self.prompts), len(self.metadata)}
        if len(lengths) != 1 or not self.images:
            raise ValueError("images, prompts and metadata must be of one length, at least 1")
        return self


class ScoreReply(_Message):
    """The scores of a request's images."""

    scores: tuple[float | None, ...]
    """B finite numbers, in the order of the request; null where an image wasn't scored."""
    faults: tuple[str, ...] = ()
    """What failed, one line each; if there are any, the images without score are faults."""


class Description(_Message):
    """The reward that a server has."""

    version: int
    reward: str
    summary: str = ""
    metadata: tuple[str, ...] = ()
    """Fields that a prompt must carry to be scored."""


class ErrorReply(_Message):
    """Why a request can't be answered."""

    error: str


def encode_image(image: NDArray[np.uint8]) -> str:
    """Encode ``image``, uint8 [H, W, 3], as PNG in base64, without loss."""
    from PIL import Image

    buffer = BytesIO()
    # Stronger compression would take a large part of a request's time.
    Image.fromarray(image).save(buffer, format="png", compress_level=1)
    return base64.b64encode(buffer.getbuffer()).decode("ascii")


def decode_images(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Decode PNG files in base64, all of one size, as uint8 [B, H, W, 3].

    Raises ValueError if they aren't PNG files in base64, or have different sizes.
    """
    images = [_decode(index, text) for index, text in enumerate(texts)]
    if len({image.shape for image in images}) != 1:
        raise ValueError("the images must be of one size")
    return np.stack(images)


def _decode(index: int, text: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        data = base64.b64decode(text, validate=True)
        with Image.open(BytesIO(data), formats=["PNG"]) as image:
            return np.asarray(image.convert("RGB"))
    except (binascii.Error, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"image {index} is no PNG file in base64") from error
