"""Train the VAE on rendered scenes and set the scale and shift of its latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor

from marble_reward_shapes.scenes import KINDS, Scene, random_scene, render


def to_tensor(images: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> float32 [B, 3, H, W] in [-1, 1]."""
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1.0


KIND_SHARES = (0.25, 0.25, 0.5)
"""Of ``KINDS``, in the training data."""


def draw(
    count: int, rng: np.random.Generator, shares: Sequence[float] = KIND_SHARES
) -> tuple[list[Scene], np.ndarray]:
    """``count`` scenes, kinds in these shares, and their images, uint8 [count, H, W, 3]."""
    kinds = rng.choice(KINDS, size=count, p=shares)
    scenes = [random_scene(rng, str(kind)) for kind in kinds]
    return scenes, np.stack([render(scene, rng) for scene in scenes])


def train_autoencoder(
    vae: AutoencoderKL, steps: int, seed: int, report: Callable[[str], None]
) -> None:
    """L1 + 2 MSE + 2e-4 KL, AdamW with a one-cycle rate, batches of 32."""
    rng = np.random.default_rng((seed, 1))
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2.5e-3, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2.5e-3, steps, pct_start=0.05)
    vae.train()
    for step in range(1, steps + 1):
        images = to_tensor(draw(32, rng)[1])
        posterior = vae.encode(images).latent_dist
        error = vae.decode(posterior.sample()).sample - images
        loss = error.abs().mean() + 2 * error.square().mean() + 2e-4 * posterior.kl().mean() / 512
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            decibels = -10 * float((error.detach().square().mean() / 4).log10())
            report(f"vae step {step}/{steps}: loss {loss.item():.4f}, PSNR {decibels:.1f} dB")
    vae.eval()
    _set_latent_statistics(vae, rng)


@torch.no_grad()
def _set_latent_statistics(vae: AutoencoderKL, rng: np.random.Generator) -> None:
    latents = vae.encode(to_tensor(draw(512, rng)[1])).latent_dist.sample()
    vae.register_to_config(
        shift_factor=round(float(latents.mean()), 4),
        scaling_factor=round(1.0 / float(latents.std()), 4),
    )


@torch.no_grad()
def encode(vae: AutoencoderKL, images: np.ndarray) -> Tensor:
    """uint8 [B, H, W, 3] -> scaled latents [B, 8, H/4, W/4]."""
    latents = vae.encode(to_tensor(images)).latent_dist.mode()
    return (latents - vae.config.shift_factor) * vae.config.scaling_factor
