from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageFilter

from marble_reward_shapes.cleanness import cleanness
from marble_reward_shapes.scenes import ALL_SCENES, render


def scenes(kind: str) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.stack([render(scene, rng) for scene in ALL_SCENES[kind][::40]])


def blurred(images: np.ndarray) -> np.ndarray:
    soft = ImageFilter.GaussianBlur(1.0)
    return np.stack([np.asarray(Image.fromarray(image).filter(soft)) for image in images])


def test_a_blank_image_and_a_chessboard_have_no_half_tone() -> None:
    board = np.where(np.indices((32, 32)).sum(0) % 2, 255, 0).astype(np.uint8)
    images = np.stack([np.zeros((32, 32, 3), dtype=np.uint8), np.repeat(board[..., None], 3, 2)])
    assert cleanness(images).tolist() == [1.0, 1.0]


def test_pairs_of_pixels_are_counted_in_rows_and_columns() -> None:
    """Columns of 0, 30 and 200: of three pairs in each row one is a half-tone, in columns none."""
    image = np.zeros((2, 4, 3), dtype=np.uint8)
    image[:, 2] = 30
    image[:, 3] = 200
    assert cleanness(image[None])[0] == pytest.approx(((2 / 3 + 1) / 2) ** 2)


@pytest.mark.parametrize("kind", ["count", "position", "text"])
def test_blurred_edges_score_less(kind: str) -> None:
    images = scenes(kind)
    assert (cleanness(blurred(images)) < cleanness(images) - 0.1).all()


def test_the_edges_of_two_letters_leave_more_fringes_than_those_of_one_object() -> None:
    one = scenes("count")[: len(scenes("count")) // 3]
    assert cleanness(blurred(scenes("text"))).mean() < cleanness(blurred(one)).mean() - 0.1
