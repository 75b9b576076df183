"""The protocol by which a reward is scored over HTTP, version 1: JSON and PNG, nothing that runs.

``POST /v1/score`` with a :class:`ScoreRequest` is answered by a :class:`ScoreReply`;
``GET /v1/reward`` by a :class:`Description`. What can't be answered gets an :class:`ErrorReply`
with status 400 (the request makes no sense), 404 (no such path or reward) or 413 (too large).
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
    # A later minor change may add fields; what isn't known is ignored.
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
    """What the client takes the server for; the server refuses if it is another."""

    @model_validator(mode="after")
    def _same_length(self) -> ScoreRequest:
        lengths = {len(self.images), len(self.prompts), len(self.metadata)}
        if len(lengths) != 1 or not self.images:
            raise ValueError("images, prompts and metadata must be of one length, at least 1")
        return self


class ScoreReply(_Message):
    """What they scored."""

    scores: tuple[float | None, ...]
    """B finite numbers, in the order of the request; null where an image wasn't scored."""
    faults: tuple[str, ...] = ()
    """Why not, where something failed: then the null ones are faults."""


class Description(_Message):
    """What a server scores."""

    version: int
    reward: str
    summary: str = ""
    metadata: tuple[str, ...] = ()
    """Fields that a prompt must carry to be scored."""


class ErrorReply(_Message):
    """Why a request has no other answer."""

    error: str


def encode_image(image: NDArray[np.uint8]) -> str:
    """uint8 [H, W, 3] -> PNG in base64, without loss."""
    from PIL import Image

    buffer = BytesIO()
    # Of the time that a request takes, little should go into packing.
    Image.fromarray(image).save(buffer, format="png", compress_level=1)
    return base64.b64encode(buffer.getbuffer()).decode("ascii")


def decode_images(texts: Sequence[str]) -> NDArray[np.uint8]:
    """PNG files of one size in base64 -> uint8 [B, H, W, 3]. Raises ValueError if they aren't."""
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
