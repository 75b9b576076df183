"""Mask2Former on images: which objects are where."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from marble_reward_geneval.instances import Geometry, Instance, Size, find_instances
from marble_reward_geneval.vocabulary import CLASSES, COCO_NAMES
from marble_reward_geneval.weights import load_model
from marblecli.errors import MarbleError

SHORT_SIDE, LONG_SIDE = 800, 1333
"""What mmdet's configuration resizes images to, aspect ratio kept."""
_MULTIPLE = 32
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Detector:
    """A Mask2Former for COCO's 80 classes, from a folder with its configuration and weights."""

    def __init__(self, folder: Path, dtype: torch.dtype, short_side: int = SHORT_SIDE) -> None:
        """Load it.

        Raises MarbleError if it is of other classes or its weights can't be used, and OSError if
        there are none.
        """
        from transformers import Mask2FormerForUniversalSegmentation

        self._short_side = short_side
        self._model = load_model(Mask2FormerForUniversalSegmentation, folder).to(dtype)
        _check_labels(folder, self._model.config.id2label)

    def to(self, device: str) -> None:
        """Move the weights."""
        self._model.to(device)

    def detect(
        self,
        images: NDArray[np.uint8],
        thresholds: Sequence[float],
        classes: Sequence[Collection[str]],
    ) -> list[dict[str, list[Instance]]]:
        """uint8 [B, H, W, 3] RGB -> for each image the instances of its classes, best first.

        ``thresholds`` and ``classes`` are those of each image.
        """
        each = zip(images, thresholds, classes, strict=True)
        return [self._detect(*one) for one in each]

    def _detect(
        self, image: NDArray[np.uint8], threshold: float, names: Collection[str]
    ) -> dict[str, list[Instance]]:
        # Alone, not in a batch: attention is masked by thresholds, so that rounding, which goes
        # with the size of the batch, may turn into another detection.
        pixels, geometry = self._prepare(image)
        with torch.no_grad():
            output = self._model(pixel_values=pixels)
        labels = [CLASSES.index(name) for name in names]
        found: dict[str, list[Instance]] = {}
        for instance in find_instances(
            output.class_queries_logits[0],
            output.masks_queries_logits[0],
            geometry,
            threshold,
            labels,
        ):
            found.setdefault(CLASSES[instance.label], []).append(instance)
        return found

    def _prepare(self, image: NDArray[np.uint8]) -> tuple[Tensor, Geometry]:
        """uint8 [H, W, 3] -> [1, 3, h, w], normalised and padded."""
        size = (image.shape[0], image.shape[1])
        content = resized(size, self._short_side)
        canvas = (_padded(content[0]), _padded(content[1]))
        device, dtype = self._model.device, self._model.dtype
        pixels = torch.as_tensor(np.ascontiguousarray(image), device=device).float() / 255
        pixels = pixels.permute(2, 0, 1)[None]
        pixels = F.interpolate(pixels, content, mode="bilinear", antialias=True)
        pixels = (pixels - _column(_MEAN, device)) / _column(_DEVIATION, device)
        pixels = F.pad(pixels, (0, canvas[1] - content[1], 0, canvas[0] - content[0]))
        return pixels.to(dtype), Geometry(size, content, canvas)


def resized(size: Size, short_side: int) -> Size:
    """As large as fits: the shorter side at most ``short_side``, the longer in proportion 5 : 3."""
    longest = LONG_SIDE * short_side / SHORT_SIDE
    scale = min(short_side / min(size), longest / max(size))
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def _padded(side: int) -> int:
    return -(-side // _MULTIPLE) * _MULTIPLE


def _column(values: tuple[float, ...], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device)[:, None, None]


def _check_labels(folder: Path, labels: dict[int, str]) -> None:
    """Names that aren't COCO's are let pass: their order can't be told."""
    names = [COCO_NAMES.get(name, name) for name in CLASSES]
    if len(labels) != len(names):
        raise MarbleError(f"{folder} has {len(labels)} classes; GenEval needs COCO's {len(names)}")
    for index, label in labels.items():
        if label in names and names.index(label) != index:
            raise MarbleError(
                f"{folder} has the class {label!r} at {index}; COCO has it at {names.index(label)}"
            )
