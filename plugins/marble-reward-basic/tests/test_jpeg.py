from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from marble_reward_basic.jpeg import jpeg_kilobytes


def noise(count: int, side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def test_it_is_the_size_of_the_file_at_quality_95() -> None:
    image = noise(1, 64)
    files = {}
    for quality in (90, 95):
        files[quality] = BytesIO()
        Image.fromarray(image[0]).save(files[quality], format="JPEG", quality=quality)
    assert jpeg_kilobytes(image) == [len(files[95].getvalue()) / 1000]
    assert jpeg_kilobytes(image) > len(files[90].getvalue()) / 1000


def test_noise_is_larger_than_a_blank() -> None:
    blank = np.zeros((1, 64, 64, 3), dtype=np.uint8)
    assert jpeg_kilobytes(blank)[0] < 1.0 < jpeg_kilobytes(noise(1, 64))[0]


def test_sizes_go_with_their_images() -> None:
    images = noise(5, 32) // np.arange(1, 6, dtype=np.uint8)[:, None, None, None]
    sizes = jpeg_kilobytes(images)
    assert np.unique(sizes).size == 5
    np.testing.assert_array_equal(jpeg_kilobytes(images[::-1]), sizes[::-1])
    np.testing.assert_array_equal(sizes, [jpeg_kilobytes(images[[i]])[0] for i in range(5)])
