"""How many prompts are encoded and how many images are decoded at a time.

These are plain numbers, so that a plan of the memory can read them without torch.
"""

from __future__ import annotations

EMBEDDED_PROMPTS = 32
"""Prompts that the text encoders get at a time."""
DECODED_LATENTS = 4 * 64 * 64
"""Places of the latents that are decoded at a time, over all images; at least one image.

With an 8-fold VAE these are four images of 512 pixels, of which each takes half a gigabyte.
"""
TILE = 512
"""Side, in pixels, of what is decoded at a time with ``model.vae_tiling``."""


def images_decoded(places: int, tile: int | None) -> int:
    """How many images with ``places`` places of the latents each are decoded at a time.

    ``tile`` is the side of a tile in such places, or None without tiling.
    """
    return max(1, (DECODED_LATENTS if tile is None else tile**2) // places)
