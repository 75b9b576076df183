from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from marble_reward_shapes.evenness import evenness
from marble_reward_shapes.scenes import ALL_SCENES, render


def scenes(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([render(scene, rng) for scene in ALL_SCENES[kind][::40]])


def blurred(images: np.ndarray) -> np.ndarray:
    soft = ImageFilter.GaussianBlur(1.0)
    return np.stack([np.asarray(Image.fromarray(image).filter(soft)) for image in images])


def test_a_blank_image_and_one_of_two_far_colours_are_even() -> None:
    board = np.where(np.indices((32, 32)).sum(0) % 3 == 0, 255, 0).astype(np.uint8)
    images = np.stack([np.full((32, 32, 3), 200, np.uint8), np.repeat(board[..., None], 3, 2)])
    assert evenness(images).tolist() == [1.0, 1.0]


def test_a_quarter_of_the_background_at_a_distance_of_ten() -> None:
    """Its root mean square is 5 of 20; what is far from the background isn't counted."""
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    image[:2, :, 1] = 110
    assert evenness(image[None])[0] == pytest.approx(0.75)
    with_object = np.concatenate([image, np.full((2, 8, 3), 250, dtype=np.uint8)])
    assert evenness(with_object[None])[0] == pytest.approx(0.75)


def test_a_deviation_above_the_worst_scores_zero() -> None:
    image = np.full((8, 8, 3), 100, dtype=np.uint8)
    image[::2, ::2] = 155
    assert evenness(image[None])[0] == 0.0


@pytest.mark.parametrize("kind", ["count", "position", "text"])
def test_halos_score_less(kind: str) -> None:
    images = scenes(kind)
    assert (evenness(blurred(images)) < evenness(images)).all()


def test_the_strokes_of_two_letters_leave_more_halo_than_one_object() -> None:
    one = scenes("count")[: len(scenes("count")) // 3]
    assert evenness(blurred(scenes("text"))).mean() < evenness(blurred(one)).mean()
