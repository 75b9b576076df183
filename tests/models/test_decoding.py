from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from marblecli.models.decoding import ImageDecoder
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.settings import ModelSettings
from support.models import load_sd3

TRAINED = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
"""With a VAE that has learned something; it makes 512 pixels of 128 places."""


def fake_vae(decode: Any, scale: float = 1.0, shift: float = 0.0) -> SimpleNamespace:
    config = SimpleNamespace(scaling_factor=scale, shift_factor=shift)
    return SimpleNamespace(
        config=config, dtype=torch.float32, decode=decode, enable_tiling=lambda: None
    )


def trained(*, tiled: bool) -> SD3Frozen:
    settings = ModelSettings(pretrained=str(TRAINED), dtype="fp32", vae_tiling=tiled)
    return load_sd3(settings, encoders=False)


@torch.no_grad()
def decode(latents: Tensor, *, tiled: bool) -> Tensor:
    return trained(tiled=tiled).decode(latents)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_decoded_images_are_float32_from_0_to_1(dtype: torch.dtype) -> None:
    vae = trained(tiled=False).pipeline.vae.to(dtype)
    latents = 100 * torch.randn(4, 8, 4, 4, generator=torch.Generator().manual_seed(0))
    images = ImageDecoder(vae, 4, tiled=False)(latents)
    assert images.dtype == torch.float32
    assert (images.min(), images.max()) == (0.0, 1.0)


def test_decoding_undoes_the_scale_and_shift_and_maps_minus_1_to_black() -> None:
    def same(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        assert not return_dict
        return (latents,)

    decoder = ImageDecoder(fake_vae(same, scale=2.0, shift=0.5), 8, tiled=False)
    latents = torch.tensor([-3.0, -1.0, 0.0, 1.0, 9.0]).view(1, 1, 1, 5)
    # latents / 2 + 0.5 is -1, 0, 0.5, 1, 5.
    assert decoder(latents).flatten().tolist() == [0.0, 0.5, 0.75, 1.0, 1.0]


def test_large_images_are_decoded_a_few_at_a_time_to_the_same() -> None:
    sizes: list[int] = []

    def first_three(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        sizes.append(len(latents))
        return (latents.repeat_interleave(2, 1)[:, :3],)

    decoder = ImageDecoder(fake_vae(first_three), 8, tiled=False)
    latents = torch.randn(7, 2, 64, 64, generator=torch.Generator().manual_seed(0))
    images = decoder(latents)
    assert sizes == [4, 3]
    assert torch.equal(images, (latents[:, [0, 0, 1]] / 2 + 0.5).clamp(0, 1))
    decoder(torch.zeros(2, 2, 256, 256))
    decoder(torch.zeros(50, 2, 16, 16))
    assert sizes[2:] == [1, 1, 50]


def test_with_tiling_no_more_pixels_than_a_tiles_are_decoded_at_a_time() -> None:
    sizes: list[tuple[int, int]] = []

    def same(latents: Tensor, return_dict: bool) -> tuple[Tensor]:
        sizes.append((len(latents), latents.shape[-1]))
        return (latents,)

    decoder = ImageDecoder(fake_vae(same), 8, tiled=True)
    for count, side in ((5, 32), (2, 64), (2, 128)):
        decoder(torch.zeros(count, 3, side, side))
    assert sizes == [(4, 32), (1, 32), (1, 64), (1, 64), (1, 128), (1, 128)]


def test_blended_tiles_are_near_the_image_decoded_whole_where_cut_ones_show_their_edges() -> None:
    latents = torch.randn(1, 8, 32, 384, generator=torch.Generator().manual_seed(0))
    whole, tiled = decode(latents, tiled=False), decode(latents, tiled=True)
    cut = torch.cat([decode(part, tiled=False) for part in latents.split(128, 3)], 3)
    assert tiled.shape == whole.shape == (1, 3, 128, 1536)
    away = (tiled - whole).abs()
    assert 0 < away.mean() < 0.05 * whole.std()
    assert away.max() < (cut - whole).abs().max() / 3


def test_an_image_that_is_no_larger_than_a_tile_isnt_cut() -> None:
    latents = torch.randn(3, 8, 16, 128, generator=torch.Generator().manual_seed(0))
    whole = decode(latents, tiled=False)
    # Decoded one by one with tiling, and three at a time without: the kernels may differ.
    torch.testing.assert_close(decode(latents, tiled=True), whole, rtol=0, atol=1e-5)


def test_tiles_hold_less_the_larger_the_image(live_bytes: Any) -> None:
    peaks: dict[tuple[bool, int], int] = {}
    for tiled in (False, True):
        for width in (128, 384):
            frozen, latents = trained(tiled=tiled), torch.zeros(1, 8, 16, width)
            with torch.no_grad(), type(live_bytes)() as live:
                frozen.decode(latents)
            peaks[tiled, width] = live.peak
    assert peaks[True, 128] == peaks[False, 128]
    assert peaks[False, 384] == 3 * peaks[False, 128]
    assert peaks[True, 384] < 1.2 * peaks[True, 128]
