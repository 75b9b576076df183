"""What this package registers with marble: JPEG size and three guards, quick to list."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from marblecli.rewards import NoOptions, Register, RewardSpec, Scorer, hookimpl


class JpegOptions(NoOptions):
    """Which size is good."""

    goal: Literal["small", "large"] = "small"
    """``small`` rewards compressible images with the negative size, ``large`` the others."""


Bound = Annotated[float, Field(ge=0, allow_inf_nan=False, validate_default=True)]


class Bounds(NoOptions):
    """Between which values of the statistic the score is 1."""

    low: Bound
    """Below this value of the statistic the score falls from 1."""
    high: Bound
    """Above this value of the statistic the score falls from 1."""

    @field_validator("high")
    @classmethod
    def _rises(cls, high: float, info: ValidationInfo) -> float:
        low = info.data.get("low", 0.0)
        if high <= low:
            raise ValueError(f"must be above low, {low:g}, got {high:g}")
        return high


class SharpnessBounds(Bounds):
    """Of the deviation of the Laplacian over that of luma."""

    low: Bound = 0.1
    high: Bound = 3.0


class ContrastBounds(Bounds):
    """Of the deviation of luma, in grey levels."""

    low: Bound = 16.0
    high: Bound = 90.0


class ColourfulnessBounds(Bounds):
    """Of Hasler and Suesstrunk's colourfulness; a black-and-white image is natural."""

    low: Bound = 0.0
    high: Bound = 109.0


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the four rewards."""
    for spec in (JPEG, SHARPNESS, CONTRAST, COLOURFULNESS):
        register(spec)


def _build_jpeg(options: JpegOptions, _device: str) -> Scorer:
    from marble_reward_basic.jpeg import jpeg_kilobytes

    sign = -1.0 if options.goal == "small" else 1.0
    return lambda batch: sign * jpeg_kilobytes(batch.images)


def _build_sharpness(options: Bounds, _device: str) -> Scorer:
    from marble_reward_basic.guards import sharpness, within

    return lambda batch: within(sharpness(batch.images), options.low, options.high)


def _build_contrast(options: Bounds, _device: str) -> Scorer:
    from marble_reward_basic.guards import contrast, within

    return lambda batch: within(contrast(batch.images), options.low, options.high)


def _build_colourfulness(options: Bounds, _device: str) -> Scorer:
    from marble_reward_basic.guards import colourfulness, within

    return lambda batch: within(colourfulness(batch.images), options.low, options.high)


JPEG = RewardSpec(
    name="jpeg",
    summary="Size as a JPEG in kB at quality 95, negative unless goal is large (DDPO).",
    build=_build_jpeg,
    options=JpegOptions,
    range=(-math.inf, math.inf),
)
SHARPNESS = RewardSpec(
    name="sharpness",
    summary="Guard: 1 unless the image is blurred, noisy or oversharpened.",
    build=_build_sharpness,
    options=SharpnessBounds,
)
CONTRAST = RewardSpec(
    name="contrast",
    summary="Guard: 1 unless the image is flat or harsh.",
    build=_build_contrast,
    options=ContrastBounds,
)
COLOURFULNESS = RewardSpec(
    name="colourfulness",
    summary="Guard: 1 unless the image is garish.",
    build=_build_colourfulness,
    options=ColourfulnessBounds,
)
