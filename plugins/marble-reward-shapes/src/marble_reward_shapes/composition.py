"""Composition: are the objects asked for there, as many, of that shape, where they should be?

After GenEval (Ghosh et al., 2023), with patches of colour in place of a detector.
Needs the metadata fields ``background``, ``objects`` and ``relation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marble_reward_shapes.palette import Patch, find_patches

_AXES = {"left of": (-1, 0), "right of": (1, 0), "above": (0, -1), "below": (0, 1)}
_SHARPNESS = 12.0
"""Slope, in logits per unit of overlap, of the soft decision between two shapes."""


def soft_composition(
    images: NDArray[np.uint8], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] in [0, 1]: the mean of the parts of the request that hold."""
    pairs = zip(images, metadata, strict=True)
    return np.array([_soft_score(image, wanted) for image, wanted in pairs])


def strict_composition(
    images: NDArray[np.uint8], metadata: Sequence[Mapping[str, Any]]
) -> NDArray[np.float64]:
    """uint8 [B, H, W, 3] -> [B] of 1 where everything asked for holds and nothing else is there."""
    pairs = zip(images, metadata, strict=True)
    return np.array([float(_holds(image, wanted)) for image, wanted in pairs])


def _soft_score(image: NDArray[np.uint8], wanted: Mapping[str, Any]) -> float:
    _, patches = find_patches(image)
    parts = []
    for group in wanted["objects"]:
        found = [patch for patch in patches if patch.colour == group["colour"]]
        most = max(len(found), group["count"])
        parts.append(1.0 - abs(len(found) - group["count"]) / most)
        parts.append(float(np.mean([_shape_score(p, group["shape"]) for p in found] or [0.0])))
    if wanted["relation"]:
        parts.append(_relation_score(_firsts(patches, wanted), wanted["relation"]))
    colours = {group["colour"] for group in wanted["objects"]}
    strangers = sum(patch.colour not in colours for patch in patches)
    return float(np.mean(parts)) / (1.0 + 0.5 * strangers)


def _shape_score(patch: Patch, wanted: str) -> float:
    others = max(value for shape, value in patch.likeness.items() if shape != wanted)
    return float(1.0 / (1.0 + np.exp(-_SHARPNESS * (patch.likeness[wanted] - others))))


def _firsts(patches: Sequence[Patch], wanted: Mapping[str, Any]) -> list[Patch]:
    """The largest patch of each group's colour; fewer than groups if one is missing."""
    found = [[p for p in patches if p.colour == g["colour"]] for g in wanted["objects"]]
    return [max(group, key=lambda patch: patch.area) for group in found if group]


def _relation_score(pair: Sequence[Patch], relation: str) -> float:
    """Cosine between the offset of the first from the second and the relation, mapped to [0, 1]."""
    if len(pair) < 2:
        return 0.0
    return 0.5 + 0.5 * _relation_cosine(pair, relation)


def _relation_cosine(pair: Sequence[Patch], relation: str) -> float:
    dx, dy = pair[0].x - pair[1].x, pair[0].y - pair[1].y
    ux, uy = _AXES[relation]
    return float((dx * ux + dy * uy) / max(np.hypot(dx, dy), 1e-6))


def _holds(image: NDArray[np.uint8], wanted: Mapping[str, Any]) -> bool:
    ground, patches = find_patches(image)
    asked = sorted((g["colour"], g["shape"]) for g in wanted["objects"] for _ in range(g["count"]))
    if ground != wanted["background"] or asked != sorted((p.colour, p.shape) for p in patches):
        return False
    if not wanted["relation"]:
        return True
    cosine = _relation_cosine(_firsts(patches, wanted), wanted["relation"])
    return cosine > float(np.cos(np.pi / 6))
