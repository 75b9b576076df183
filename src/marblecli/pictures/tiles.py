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


def reduced(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The image with its longest side at most ``side`` pixels; a smaller one is unchanged."""
    width, height = image.size
    longest = max(width, height)
    if longest <= side:
        return image
    size = (max(1, round(width * side / longest)), max(1, round(height * side / longest)))
    return image.resize(size, Image.Resampling.LANCZOS)


def shown(image: Image.Image, side: int = SIDE) -> Image.Image:
    """The image for the eye: at most ``side`` pixels, and enlarged without blur if it is tiny."""
    image = reduced(image, side)
    factor = side // max(image.size)
    if factor < 2:
        return image
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.NEAREST)
