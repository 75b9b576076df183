from __future__ import annotations

import numpy as np
import pytest

from marble_reward_shapes.aesthetic import aesthetic, balance
from marble_reward_shapes.scenes import Group, Scene, render


def halves(one: tuple[int, int, int], two: tuple[int, int, int]) -> np.ndarray:
    image = np.empty((1, 32, 32, 3), dtype=np.uint8)
    image[:, :16], image[:, 16:] = one, two
    return image


@pytest.mark.parametrize("shade", [0, 128, 255])
def test_a_flat_gray_image_is_balanced_and_no_more(shade: int) -> None:
    flat = halves((shade,) * 3, (shade,) * 3)
    assert aesthetic(flat)[0] == pytest.approx(1 / 3)


def test_black_and_white_halves_have_contrast_and_balance() -> None:
    # Luma 0 and 255: standard deviation 127.5; no colour; both halves weigh alike.
    assert aesthetic(halves((0, 0, 0), (255, 255, 255)))[0] == pytest.approx((127.5 / 128 + 1) / 3)


@pytest.mark.parametrize(
    ("row", "column", "score"),
    [(0, 0, 0.0), (16, 31, 0.0), (31, 15, 0.0), (16, 16, 1 - np.hypot(1 / 31, 1 / 31))],
)
def test_balance_of_one_bright_pixel_is_its_distance_from_the_centre(
    row: int, column: int, score: float
) -> None:
    pixels = np.zeros((1, 32, 32, 3))
    pixels[0, row, column] = 255.0
    assert balance(pixels)[0] == pytest.approx(score, abs=1e-6)


def test_mirrored_weights_are_balanced() -> None:
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 32, 32, 3))
    pixels[:, 4:28, 4:28] = 0.0
    mirrored = np.maximum(pixels, pixels[:, ::-1, ::-1])
    assert balance(mirrored)[0] == pytest.approx(1.0, abs=1e-9)


def test_red_and_blue_halves_by_hand() -> None:
    # R - G is 255 or 0, (R + G)/2 - B is 127.5 or -255: deviations 127.5 and 191.25, means 127.5
    # and -63.75. Colourfulness hypot(127.5, 191.25) + 0.3 hypot(127.5, 63.75) = 272.6, above 150.
    # Luma is 76.245 or 29.07: deviation 23.5875.
    score = aesthetic(halves((255, 0, 0), (0, 0, 255)))[0]
    assert score == pytest.approx((1 + 23.5875 / 128 + 1) / 3)


def test_more_colour_scores_higher() -> None:
    rng = np.random.default_rng(0)
    scene = Scene("black", (Group("circle", "yellow", 3),))
    vivid = render(scene, rng)
    gray = np.repeat(vivid.mean(axis=-1, keepdims=True).astype(np.uint8), 3, axis=-1)
    assert aesthetic(vivid[None]) > aesthetic(gray[None]) + 0.1


def test_scores_go_with_their_images_and_stay_in_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    scores = aesthetic(images)
    np.testing.assert_array_equal(aesthetic(images[::-1]), scores[::-1])
    np.testing.assert_array_equal(scores, [aesthetic(images[[i]])[0] for i in range(6)])
    assert ((scores >= 0) & (scores <= 1)).all()
