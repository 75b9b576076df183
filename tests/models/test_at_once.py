from __future__ import annotations

import pytest

from marblecli.models.at_once import DECODED_LATENTS, images_decoded


@pytest.mark.parametrize(
    ("side", "tile", "count"),
    [(64, None, 4), (32, None, 16), (128, None, 1), (256, None, 1), (64, 64, 1), (32, 64, 4)],
)
def test_as_many_images_as_make_four_of_512_pixels_or_one_tile(
    side: int, tile: int | None, count: int
) -> None:
    assert images_decoded(side**2, tile) == count
    assert count == 1 or count * side**2 <= DECODED_LATENTS
