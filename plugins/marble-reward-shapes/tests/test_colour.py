from __future__ import annotations

import numpy as np
import pytest

from marble_reward_shapes.colour import colour_match
from marble_reward_shapes.scenes import ALL_SCENES, BACKGROUNDS, COLOURS, render

WANTED = {"background": "white", "colours": ["red", "blue"]}


def canvas(**pixels: int) -> np.ndarray:
    """One white image with so many pixels of each colour."""
    image = np.full((1024, 3), BACKGROUNDS["white"], dtype=np.uint8)
    start = 0
    for name, count in pixels.items():
        image[start : start + count] = COLOURS[name]
        start += count
    return image.reshape(1, 32, 32, 3)


def test_scenes_as_drawn_score_high() -> None:
    rng = np.random.default_rng(0)
    scenes = [kind[i] for kind in ALL_SCENES.values() for i in rng.integers(len(kind), size=50)]
    images = np.stack([render(scene, rng) for scene in scenes])
    scores = colour_match(images, [scene.metadata() for scene in scenes])
    assert scores.min() > 0.95
    assert scores.max() <= 1.0


@pytest.mark.parametrize(
    ("pixels", "score"),
    [
        ({"red": 24, "blue": 24}, 1.0),
        ({"red": 500, "blue": 24}, 1.0),
        ({"red": 24}, 0.5),
        ({"red": 24, "blue": 12}, 0.75),
        ({}, 0.0),
    ],
)
def test_the_share_of_colours_shown_by_hand(pixels: dict[str, int], score: float) -> None:
    assert colour_match(canvas(**pixels), [WANTED])[0] == pytest.approx(score, abs=1e-3)


def test_other_colours_cost_their_share_of_pixels() -> None:
    image = canvas(red=24, blue=24, green=256)
    assert colour_match(image, [WANTED])[0] == pytest.approx(0.75, abs=0.01)


def test_soft_edges_are_pure() -> None:
    image = canvas(red=24, blue=24)
    ground, ink = np.array(BACKGROUNDS["white"]), np.array(COLOURS["red"])
    image[0, 10:20] = np.round((ground + ink) / 2)
    assert colour_match(image, [WANTED])[0] == pytest.approx(1.0, abs=1e-3)


def test_the_wrong_background_costs_nearly_all() -> None:
    image = canvas(red=24, blue=24)
    assert colour_match(image, [{**WANTED, "background": "black"}])[0] < 0.1


def test_scores_go_with_their_images_and_stay_in_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    wanted = [WANTED, {"background": "gray", "colours": ["green"]}] * 3
    scores = colour_match(images, wanted)
    np.testing.assert_allclose(colour_match(images[::-1], wanted[::-1]), scores[::-1])
    assert ((scores >= 0) & (scores <= 1)).all()
