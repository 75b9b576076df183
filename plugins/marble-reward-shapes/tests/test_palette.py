from __future__ import annotations

import numpy as np
import pytest

from marble_reward_shapes.palette import MIN_AREA, NAMES, find_patches, label_pixels
from marble_reward_shapes.scenes import BACKGROUNDS, COLOURS, SHAPES, Group, Scene, render


def test_pixels_get_their_nearest_name() -> None:
    image = np.array([[*COLOURS.values(), *BACKGROUNDS.values()]], dtype=np.uint8)
    assert label_pixels(image).tolist() == [list(range(len(NAMES)))]
    assert NAMES[label_pixels(np.array([[[200, 60, 50]]], dtype=np.uint8))[0, 0]] == "red"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_drawn_shape_is_found_with_its_name(shape: str) -> None:
    for seed in range(20):
        image = render(Scene("white", (Group(shape, "blue", 1),)), np.random.default_rng(seed))
        ground, (patch,) = find_patches(image)
        assert (ground, patch.colour, patch.shape) == ("white", "blue", shape)


def test_a_square_by_hand() -> None:
    image = np.full((32, 32, 3), BACKGROUNDS["black"], dtype=np.uint8)
    image[4:10, 20:26] = COLOURS["red"]
    _, (patch,) = find_patches(image)
    assert (patch.area, patch.x, patch.y) == (36, 22.5, 6.5)
    assert patch.likeness["square"] == 1.0


def test_specks_are_left_out() -> None:
    image = np.full((32, 32, 3), BACKGROUNDS["black"], dtype=np.uint8)
    image[0, : MIN_AREA - 1] = COLOURS["red"]
    assert find_patches(image) == ("black", [])
    image[0, :MIN_AREA] = COLOURS["red"]
    assert len(find_patches(image)[1]) == 1
