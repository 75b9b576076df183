from __future__ import annotations

import numpy as np
import pytest

from marble_reward_shapes.compressibility import compressibility
from marble_reward_shapes.scenes import ALL_SCENES, render


@pytest.mark.parametrize("size", [32, 64])
def test_a_blank_image_scores_one(size: int) -> None:
    assert compressibility(np.zeros((1, size, size, 3), dtype=np.uint8)) == [1.0]


def test_noise_scores_near_zero() -> None:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    assert compressibility(images).max() < 0.15


def test_more_objects_take_more_bytes() -> None:
    def mean(count: int) -> float:
        scenes = [s for s in ALL_SCENES["count"] if s.groups[0].count == count]
        images = [render(scene, np.random.default_rng(i)) for i, scene in enumerate(scenes)]
        return float(compressibility(np.stack(images)).mean())

    assert 1.0 > mean(1) > mean(2) > mean(3) > 0.0


def test_scores_go_with_their_images() -> None:
    rng = np.random.default_rng(0)
    images = np.stack([render(scene, rng) for scene in ALL_SCENES["text"][::300]])
    scores = compressibility(images)
    np.testing.assert_array_equal(compressibility(images[::-1]), scores[::-1])
    np.testing.assert_array_equal(
        scores, [compressibility(images[[i]])[0] for i in range(len(images))]
    )
