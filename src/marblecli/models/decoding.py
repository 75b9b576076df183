"""Latents -> images, by the decoder of an ``AutoencoderKL``."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL
from torch import Tensor

from marblecli.models.at_once import TILE, images_decoded


class ImageDecoder:
    """Decodes a few images at a time, and with ``tiled`` a large image tile by tile.

    Images that are decoded in tiles differ a little from those that are decoded whole.
    ``downsampling`` is how many pixels of a side are one place of the latents.
    """

    def __init__(self, vae: AutoencoderKL, downsampling: int, *, tiled: bool) -> None:
        self._vae = vae
        self._tile = TILE // downsampling if tiled else None
        if self._tile is not None:
            vae.enable_tiling()
            # The VAE's own threshold is the size that it was trained on, which is larger than what
            # is sampled here.
            vae.tile_latent_min_size = self._tile
            vae.tile_sample_min_size = TILE

    def __call__(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> float32 images [B, 3, H, W] in [0, 1]."""
        vae = self._vae
        unscaled = (latents / vae.config.scaling_factor + vae.config.shift_factor).to(vae.dtype)
        at_once = images_decoded(unscaled[0, 0].numel(), self._tile)
        parts = [vae.decode(part, return_dict=False)[0] for part in unscaled.split(at_once)]
        return (torch.cat(parts).float() / 2 + 0.5).clamp(0.0, 1.0)
