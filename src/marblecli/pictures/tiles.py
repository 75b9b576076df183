"""One image as it is shown: large ones scaled down, tiny ones enlarged by a whole factor."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image

if TYPE_CHECKING:
    from torch import Tensor

SIDE = 320
"""Pixels: the longest side of a shown image, at most."""


def to_image(pixels: Tensor) -> Image.Image:
    """A picture of float32 [3, H, W] in [0, 1]. Values outside are clipped, and NaN is black."""
    levels = pixels.detach().nan_to_num().clamp(0, 1).mul(255).round().byte()
    return Image.fromarray(levels.permute(1, 2, 0).cpu().numpy())


def reduced(image: Image.Image) -> Image.Image:
    """The image with its longest side at most :data:`SIDE`; a smaller one is unchanged."""
    return image if max(image.size) <= SIDE else shown(image)


def shown_size(size: tuple[int, int], side: int) -> tuple[int, int]:
    """The width and height at which an image of ``size`` is shown; see :func:`shown`."""
    width, height = size
    longest = max(size)
    if longest <= side:
        return width * (side // longest), height * (side // longest)
    return max(1, round(width * side / longest)), max(1, round(height * side / longest))


def shown(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The image for the eye: its longest side is at most ``side`` pixels.

    A larger one is scaled down, and a tiny one enlarged by a whole factor without blur.
    """
    size = shown_size(image.size, side)
    larger = size[0] > image.width
    return image.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)
