from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel

from marblecli.models.architectures import shipped_architecture
from marblecli.models.conditioning import Conditioning
from marblecli.models.sd3.family import PUBLISHED_TARGETS, SD3
from marblecli.settings import ModelSettings
from marblecli.train.batch import TrainingBatch

MEDIUM, LARGE = (f"stabilityai/stable-diffusion-3.5-{size}" for size in ("medium", "large"))


def test_the_velocity_is_the_transformers_at_a_thousand_times_the_level(
    transformer: SD3Transformer2DModel, batch: TrainingBatch
) -> None:
    levels, told = batch.levels[:, 0], batch.conditioning.tensors
    with torch.no_grad():
        expected = transformer(
            batch.latents,
            encoder_hidden_states=told["context"],
            pooled_projections=told["pooled"],
            timestep=1000 * levels,
        ).sample
        found = SD3.velocity(transformer, batch.latents, levels, Conditioning(told))
    assert torch.equal(found, expected)


def test_the_blocks_are_the_joint_ones_in_order(transformer: SD3Transformer2DModel) -> None:
    assert list(SD3.blocks(transformer)) == list(transformer.transformer_blocks)


@pytest.mark.parametrize(
    ("hub_id", "text"),
    [
        (MEDIUM, "24 layers of width 1536, 13 with a second attention"),
        (LARGE, "38 layers of width 2432"),
    ],
)
def test_its_sizes_in_words(hub_id: str, text: str) -> None:
    assert SD3.describe(shipped_architecture(hub_id)) == text


@pytest.mark.parametrize(
    ("t5", "used"),
    [
        ("full", ("text_encoder", "text_encoder_2", "text_encoder_3")),
        ("8bit", ("text_encoder", "text_encoder_2", "text_encoder_3")),
        ("none", ("text_encoder", "text_encoder_2")),
    ],
)
def test_which_text_encoders_a_run_uses(t5: str, used: tuple[str, ...]) -> None:
    model = ModelSettings.model_validate({"pretrained": MEDIUM, "t5": t5})
    architecture = shipped_architecture(MEDIUM)
    assert SD3.encoders(architecture, model) == used
    assert tuple(SD3.limits(architecture, model).tokens) == used


def test_the_program_may_advise_what_takes_less_memory() -> None:
    for option, value in SD3.spec.savings:
        SD3.spec.options.model_validate({option: value})


def test_the_published_targets_are_the_default() -> None:
    assert SD3.spec.adapters.targets == PUBLISHED_TARGETS
    assert len(PUBLISHED_TARGETS) == 8
