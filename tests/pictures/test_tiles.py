from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from marblecli.pictures.tiles import SIDE, reduced, shown, shown_size, to_image


def test_an_images_values_become_bytes_row_by_row() -> None:
    pixels = torch.tensor([[[0.0, 0.5], [1.0, 0.25]]]).expand(3, 2, 2)
    assert np.asarray(to_image(pixels))[..., 0].tolist() == [[0, 128], [255, 64]]


def test_values_out_of_range_are_clipped() -> None:
    pixels = torch.tensor([-1.0, 2.0, float("nan")]).reshape(3, 1, 1)
    assert to_image(pixels).getpixel((0, 0)) == (0, 255, 0)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [
        ((512, 512), (SIDE, SIDE)),
        ((1024, 512), (SIDE, SIDE // 2)),
        ((8, 4000), (1, SIDE)),
        ((32, 32), (320, 320)),
        ((200, 100), (200, 100)),
        ((SIDE, 7), (SIDE, 7)),
    ],
)
def test_the_longest_side_is_bounded_and_the_shape_is_kept(
    size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    assert shown(Image.new("RGB", size)).size == shown_size(size, SIDE) == wanted


def test_small_images_are_enlarged_without_blur() -> None:
    image = to_image(torch.rand(3, 32, 32))
    pixels = np.asarray(shown(image))
    np.testing.assert_array_equal(pixels[5::10, 5::10], np.asarray(image))


def test_what_is_kept_of_a_small_image_is_the_image() -> None:
    image = to_image(torch.rand(3, 32, 32))
    assert reduced(image) is image
