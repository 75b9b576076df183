"""What a Mask2Former says about one image -> instances, as mmdet derives them.

mmdet's ``MaskFormerFusionHead.instance_postprocess``, which GenEval runs: of all pairs of query and
class the 100 most probable; score = class probability times mean probability in the mask. Not
transformers' ``post_process_instance_segmentation``, which rescales to 384 x 384, resizes
binary masks by nearest neighbour and gives no boxes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from marble_reward_geneval.rules import Box

MAX_INSTANCES = 100
"""Of one image, all classes together."""

Size = tuple[int, int]
"""Height and width in pixels."""


@dataclass(frozen=True)
class Geometry:
    """The sizes that an image has on its way through the detector."""

    image: Size
    content: Size
    """The resized image."""
    canvas: Size
    """The network's input: the resized image and padding right of it and below."""


@dataclass(frozen=True)
class Instance:
    """One detected object."""

    label: int
    score: float
    box: Box
    mask: NDArray[np.bool_]
    """[H, W] of the image."""


def find_instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    geometry: Geometry,
    threshold: float,
    labels: Collection[int],
) -> list[Instance]:
    """[Q, C + 1] and [Q, h, w] -> instances scoring above ``threshold``, most confident first.

    Only those of the classes ``labels``; those with an empty mask have no box and are left out.
    """
    probabilities = class_logits.float().softmax(-1)[:, :-1]
    classes = probabilities.shape[1]
    best = probabilities.flatten().topk(min(MAX_INSTANCES, probabilities.numel()))
    wanted = torch.tensor(sorted(labels), device=best.indices.device)
    # The mean probability in a mask is at most 1: what is out by its class alone is out.
    kept = torch.isin(best.indices % classes, wanted) & (best.values > threshold)
    pairs, values = best.indices[kept], best.values[kept]
    found = []
    for pair, value in zip(pairs.tolist(), values.tolist(), strict=True):
        query, label = divmod(pair, classes)
        instance = _instance(label, value, _resize(mask_logits[query], geometry))
        if instance is not None and instance.score > threshold:
            found.append(instance)
    return sorted(found, key=lambda instance: -instance.score)


def _resize(logits: Tensor, geometry: Geometry) -> Tensor:
    """[h, w] of the canvas -> [H, W] of the image: two steps, as mmdet does."""
    height, width = geometry.content
    canvas = _bilinear(logits.float(), geometry.canvas)
    return _bilinear(canvas[:height, :width], geometry.image)


def _bilinear(logits: Tensor, size: Size) -> Tensor:
    return F.interpolate(logits[None, None], size, mode="bilinear", align_corners=False)[0, 0]


def _instance(label: int, probability: float, logits: Tensor) -> Instance | None:
    mask = logits > 0
    area = mask.sum()
    if not area:
        return None
    quality = logits.sigmoid()[mask].sum() / (area + 1e-6)
    return Instance(label, probability * float(quality), box_of(mask), mask.cpu().numpy())


def box_of(mask: Tensor) -> Box:
    """The box around a mask [H, W] that isn't empty."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
