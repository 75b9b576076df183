from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor

from marblecli.models.backbone import Backbone
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.settings import ModelSettings
from support.models import load_sd3

TEXTS = ("a red square on black", "a blue circle on white", 'the text "EH" in blue on black')


@pytest.fixture
def frozen(tiny_folder: Path) -> SD3Frozen:
    return load_sd3(ModelSettings(pretrained=str(tiny_folder), dtype="fp32", max_sequence_length=1))


def test_conditioning_is_what_the_pipeline_encodes(frozen: SD3Frozen) -> None:
    backbone = Backbone(frozen)
    backbone.embed(TEXTS)
    asked = [TEXTS[2], TEXTS[0], TEXTS[2]]
    found = backbone.conditioning(asked).tensors
    for row, text in enumerate(asked):
        context, _, pooled, _ = frozen.pipeline.encode_prompt(
            text, None, None, do_classifier_free_guidance=False, max_sequence_length=1
        )
        torch.testing.assert_close(found["context"][row], context[0])
        torch.testing.assert_close(found["pooled"][row], pooled[0])
    assert not torch.equal(found["context"][0], found["context"][1])
    assert not found["context"].requires_grad


def test_latents_have_the_shape_that_decodes_to_the_resolution(frozen: SD3Frozen) -> None:
    assert frozen.latent_shape(32, 16) == (8, 8, 4)
    assert frozen.latent_shape(16, 16) == (8, 4, 4)
    assert frozen.decode(torch.zeros(2, 8, 4, 4)).shape == (2, 3, 16, 16)


@pytest.mark.parametrize("shift", [1.0, 3.0])
@pytest.mark.parametrize("steps", [2, 10, 40])
def test_the_grid_is_the_shifted_flow_grid(shift: float, steps: int) -> None:
    own = FlowMatchEulerDiscreteScheduler(shift=shift)
    pipeline = SimpleNamespace(scheduler=own, vae=None, vae_scale_factor=8)
    frozen = SD3Frozen(pipeline, ModelSettings(pretrained="x"))
    levels = frozen.solver(steps, (16, 64, 64)).levels
    # From just below pure noise, evenly down to the clean image, then shifted as SD3 shifts.
    even = np.linspace(0.999, 0.999 / steps, steps)
    shifted = shift * even / (1 + (shift - 1) * even)
    np.testing.assert_allclose(levels, [*shifted, 0.0], rtol=1e-5)
    own.set_timesteps(sigmas=even)
    np.testing.assert_allclose(levels, own.sigmas, rtol=1e-5)


def test_only_what_decodes_is_moved_and_nothing_of_it_trains(frozen: SD3Frozen) -> None:
    frozen.to(torch.device("meta"))
    assert frozen.device.type == "meta"
    assert {p.device.type for part in frozen.encoders() for p in part.parameters()} == {"cpu"}
    assert not any(parameter.requires_grad for parameter in frozen.pipeline.vae.parameters())


def last_tokens(folder: Path, t5: str) -> Tensor:
    """What the third encoder says of the texts."""
    frozen = load_sd3(ModelSettings(pretrained=str(folder), max_sequence_length=3, t5=t5))
    assert (frozen.pipeline.text_encoder_3 is None) == (t5 == "none")
    assert len(frozen.encoders()) == (2 if t5 == "none" else 3)
    backbone = Backbone(frozen)
    backbone.embed(TEXTS)
    context = backbone.conditioning(TEXTS).tensors["context"]
    assert context[:, :-3].abs().sum() > 0
    return context[:, -3:].float()


@pytest.fixture
def talking_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny T5 is all zeros as it is made; this one isn't."""
    pipeline = load_sd3(ModelSettings(pretrained=str(tiny_folder), dtype="fp32")).pipeline
    generator = torch.Generator().manual_seed(0)
    for parameter in pipeline.text_encoder_3.parameters():
        parameter.data.normal_(generator=generator)
    pipeline.save_pretrained(tmp_path / "talking")
    return tmp_path / "talking"


def test_without_t5_zeros_stand_for_it(talking_folder: Path) -> None:
    assert last_tokens(talking_folder, "none").abs().sum() == 0
    assert last_tokens(talking_folder, "full").abs().sum() > 0


def test_t5_in_8_bits_says_nearly_the_same(talking_folder: Path) -> None:
    pytest.importorskip("torchao")
    full, small = (last_tokens(talking_folder, t5) for t5 in ("full", "8bit"))
    assert not torch.equal(full, small)
    assert torch.cosine_similarity(full.flatten(), small.flatten(), dim=0) > 0.99
