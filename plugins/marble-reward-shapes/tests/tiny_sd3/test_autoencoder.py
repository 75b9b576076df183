from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from marble_reward_shapes.tiny_sd3.architecture import vae
from marble_reward_shapes.tiny_sd3.autoencoder import draw, encode, to_tensor, train_autoencoder


def test_images_become_tensors_in_the_models_range() -> None:
    image = np.zeros((1, 2, 2, 3), dtype=np.uint8)
    image[0, 0, 1] = (255, 0, 255)
    tensor = to_tensor(image)
    assert tensor.shape == (1, 3, 2, 2)
    assert tensor[0, :, 0, 1].tolist() == [1.0, -1.0, 1.0]


def test_half_of_the_scenes_are_text() -> None:
    scenes, images = draw(800, np.random.default_rng(0))
    assert images.shape == (800, 32, 32, 3)
    assert sum(scene.kind == "text" for scene in scenes) == pytest.approx(400, abs=70)


def test_shipped_latents_are_scaled_and_decode_to_the_scene(
    shipped: StableDiffusion3Pipeline,
) -> None:
    _, images = draw(64, np.random.default_rng(1))
    latents = encode(shipped.vae, images)
    assert float(latents.std()) == pytest.approx(1.0, abs=0.1)
    config = shipped.vae.config
    with torch.no_grad():
        decoded = shipped.vae.decode(latents / config.scaling_factor + config.shift_factor).sample
    error = (decoded - to_tensor(images)).square().mean() / 4
    assert -10 * float(error.log10()) > 28


def test_training_sets_the_latents_statistics() -> None:
    torch.manual_seed(0)
    model = vae()
    lines: list[str] = []
    train_autoencoder(model, 3, 0, lines.append)
    _, images = draw(256, np.random.default_rng(0))
    latents = encode(model, images)
    assert float(latents.mean()) == pytest.approx(0.0, abs=0.3)
    assert not model.training
