"""Images as each published score sees them: how they are resized is part of the score.

PickScore and Aesthetic use the image processor that they are published with. All give float32
[B, 3, size, size], normalised by CLIP's mean and deviation.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_DEVIATION = (0.26862954, 0.26130258, 0.27577711)


class PublishedProcessor:
    """The PIL image processor of a folder with ``preprocessor_config.json``.

    PIL by name: the processor of that class on torchvision resizes otherwise.
    """

    def __init__(self, folder: Path) -> None:
        from transformers import CLIPImageProcessorPil

        self._process = CLIPImageProcessorPil.from_pretrained(folder, local_files_only=True)

    def __call__(self, images: Sequence[Image]) -> Tensor:
        pixels: Tensor = self._process(list(images), return_tensors="pt")["pixel_values"]
        return pixels


def crop_bilinear(images: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] in [0, 1]: the short side to ``size`` by antialiased bilinear, then the centre.

    torchvision's ``Resize`` on a tensor is bilinear, so CLIPScore is published with that, not
    with CLIP's bicubic.
    """
    resized = F.interpolate(
        images, _short_side(images.shape[-2:], size), mode="bilinear", antialias=True
    )
    top, left = (_centre(side, size) for side in resized.shape[-2:])
    return _normalised(resized[..., top : top + size, left : left + size])


def pad_bicubic(images: Tensor, size: int) -> Tensor:
    """[B, 3, H, W] in [0, 1]: the long side to ``size`` by antialiased bicubic, zeros around.

    The zeros are black: they are added before the normalisation. HPSv2's own preprocessing.
    """
    scale = size / max(images.shape[-2:])
    height, width = (round(side * scale) for side in images.shape[-2:])
    resized = F.interpolate(images, (height, width), mode="bicubic", antialias=True)
    top, left = (size - height) // 2, (size - width) // 2
    return _normalised(F.pad(resized, (left, size - width - left, top, size - height - top)))


def crop_pil_bicubic(images: Sequence[Image], size: int) -> Tensor:
    """The short side to ``size`` by PIL's bicubic, then the centre. ImageReward's preprocessing."""
    return _normalised(torch.stack([_crop_one(image, size) for image in images]))


def _crop_one(image: Image, size: int) -> Tensor:
    from PIL.Image import Resampling

    height, width = _short_side((image.height, image.width), size)
    top, left = _centre(height, size), _centre(width, size)
    cropped = image.resize((width, height), Resampling.BICUBIC).crop(
        (left, top, left + size, top + size)
    )
    array: Any = np.asarray(cropped.convert("RGB"))
    return torch.from_numpy(array.copy()).permute(2, 0, 1).float() / 255


def _short_side(sides: Sequence[int], size: int) -> tuple[int, int]:
    """(height, width) with the short side at ``size``; the long one rounds down."""
    height, width = sides
    if height <= width:
        return size, int(size * width / height)
    return int(size * height / width), size


def _centre(side: int, size: int) -> int:
    """Where a centred crop starts, as torchvision rounds it."""
    return round((side - size) / 2)


def _normalised(pixels: Tensor) -> Tensor:
    mean = torch.tensor(_MEAN, device=pixels.device)[:, None, None]
    deviation = torch.tensor(_DEVIATION, device=pixels.device)[:, None, None]
    return (pixels - mean) / deviation
