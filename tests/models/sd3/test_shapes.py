from __future__ import annotations

from pathlib import Path

import pytest
import torch

from marblecli.models.architectures import folder_architecture, shipped_architecture
from marblecli.models.backbone import Backbone
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.options import SD3Options
from marblecli.models.sd3.shapes import conditioning_shapes, sd3_limits
from marblecli.settings import ModelSettings
from support.models import load_sd3

MEDIUM, LARGE = (f"stabilityai/stable-diffusion-3.5-{size}" for size in ("medium", "large"))
TINY = Path(__file__).parents[3] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


@pytest.mark.parametrize(("hub_id", "largest"), [(MEDIUM, 384 * 16), (LARGE, 192 * 16)])
def test_sides_are_whole_patches_as_far_as_there_are_positions(hub_id: str, largest: int) -> None:
    limits = sd3_limits(shipped_architecture(hub_id), SD3Options())
    assert (limits.side_step, limits.largest_side) == (16, largest)


def test_the_network_runs_at_every_side_that_is_allowed_and_at_no_other() -> None:
    settings = ModelSettings(pretrained=str(TINY), dtype="fp32")
    frozen = load_sd3(settings, encoders=False)
    network = frozen.pipeline.transformer
    limits = SD3.limits(folder_architecture(TINY), settings)
    for side in range(8, 49, 4):
        latents = torch.zeros(1, *frozen.latent_shape(side, side))
        inputs = {
            "encoder_hidden_states": torch.zeros(1, 2, 128),
            "pooled_projections": torch.zeros(1, 128),
            "timestep": torch.ones(1),
            "return_dict": False,
        }
        if limits.side_fault(side) is None:
            assert network(latents, **inputs)[0].shape == latents.shape
            continue
        try:
            found = network(latents, **inputs)[0].shape
        except (RuntimeError, ValueError):
            continue
        # An odd number of places loses its last row and column.
        assert found != latents.shape


@pytest.mark.parametrize("t5", ["full", "none"])
@pytest.mark.parametrize("length", [1, 5])
def test_conditioning_is_shaped_as_the_encoders_make_it(t5: str, length: int) -> None:
    settings = ModelSettings.model_validate(
        {"pretrained": str(TINY), "dtype": "fp32", "t5": t5, "max_sequence_length": length}
    )
    backbone = Backbone(load_sd3(settings))
    backbone.embed(["a red square"])
    found = backbone.conditioning(["a red square"]).tensors
    options = SD3Options.model_validate({"t5": t5, "max_sequence_length": length})
    shapes = conditioning_shapes(folder_architecture(TINY), options)
    assert {name: tuple(part.shape[1:]) for name, part in found.items()} == shapes


def test_latents_are_the_loaded_models(tiny_folder: Path) -> None:
    settings = ModelSettings(pretrained=str(tiny_folder), dtype="fp32")
    frozen, architecture = load_sd3(settings), folder_architecture(tiny_folder)
    for height, width in ((16, 16), (32, 16)):
        assert SD3.latent_shape(architecture, height, width) == frozen.latent_shape(height, width)
    assert SD3.latent_shape(shipped_architecture(MEDIUM), 512, 1024) == (16, 64, 128)


def test_sd35_mediums_prompt_has_205_tokens_of_4096() -> None:
    shapes = conditioning_shapes(shipped_architecture(MEDIUM), SD3Options())
    assert shapes == {"context": (77 + 128, 4096), "pooled": (2048,)}
    tokens = sd3_limits(shipped_architecture(MEDIUM), SD3Options()).tokens
    assert tokens == {"text_encoder": 77, "text_encoder_2": 77, "text_encoder_3": 128}
