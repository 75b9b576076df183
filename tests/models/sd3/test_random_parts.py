from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import nn

from marblecli.models.architectures import Architecture, folder_architecture, shipped_architecture
from marblecli.models.hashed_words import HashedWords
from marblecli.models.loading import load_model
from marblecli.models.make_policies import make_policies
from marblecli.models.sd3.loading import load_pipeline
from marblecli.models.sd3.random_parts import random_pipeline
from marblecli.settings import ModelSettings
from marblecli.train.rollout import Sampling, integrate
from support.models import load_request

TINY = Path(__file__).parents[3] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
TEXTS = ("a red square on black", "two blue circles")
NAMES = ("transformer", "vae", "text_encoder", "text_encoder_2", "text_encoder_3")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configurations alone: neither weights nor tokenizers."""
    ignored = shutil.ignore_patterns("*.safetensors", "tokenizer*")
    shutil.copytree(TINY, tmp_path / "model", ignore=ignored)
    return tmp_path / "model"


@pytest.fixture
def architecture(folder: Path) -> Architecture:
    return folder_architecture(folder)


def parts(pipeline: StableDiffusion3Pipeline) -> dict[str, nn.Module]:
    return {name: getattr(pipeline, name) for name in NAMES}


def equal(one: nn.Module, other: nn.Module) -> bool:
    theirs = other.state_dict()
    return all(torch.equal(value, theirs[name]) for name, value in one.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_seed_gives_the_same_bits_again(architecture: Architecture, dtype: torch.dtype) -> None:
    first, again = (parts(random_pipeline(architecture, dtype, 3)) for _ in range(2))
    other = parts(random_pipeline(architecture, dtype, 4))
    for name, part in first.items():
        assert equal(part, again[name])
        assert not equal(part, other[name])
        kinds = {value.dtype for value in part.state_dict().values() if value.is_floating_point()}
        assert kinds == {dtype}


def test_what_is_left_out_doesnt_change_the_rest(architecture: Architecture) -> None:
    whole = random_pipeline(architecture, torch.float32, 0)
    absent = {"text_encoder", "text_encoder_2", "text_encoder_3"}
    rest = random_pipeline(architecture, torch.float32, 0, absent)
    assert equal(rest.transformer, whole.transformer)
    assert (rest.text_encoder, rest.text_encoder_3, rest.tokenizer_3) == (None, None, None)
    without_t5 = random_pipeline(architecture, torch.float32, 0, {"text_encoder_3"})
    assert without_t5.text_encoder_3 is None
    assert equal(without_t5.text_encoder_2, whole.text_encoder_2)


def test_no_two_weights_or_rows_are_alike(architecture: Architecture) -> None:
    transformer = random_pipeline(architecture, torch.float32, 0).transformer
    matrices = [value for value in transformer.parameters() if value.ndim == 2]
    rows = torch.cat([matrix[:, :64].double() for matrix in matrices])
    assert len(torch.unique(rows / rows.norm(dim=1, keepdim=True), dim=0)) == len(rows)


def test_weights_keep_activations_near_unit_size(architecture: Architecture) -> None:
    block = random_pipeline(architecture, torch.float32, 0).transformer.transformer_blocks[0]
    query = block.attn.to_q
    assert query.weight.std() == pytest.approx(query.in_features**-0.5, rel=0.05)
    assert abs(query.weight.mean()) < 0.05 * query.weight.std()
    assert not query.bias.any()
    assert (block.attn.norm_q.weight == 1).all()


def test_what_isnt_drawn_is_as_the_class_makes_it(architecture: Architecture) -> None:
    transformer = random_pipeline(architecture, torch.float32, 0).transformer
    config = dict(architecture.parts["transformer"])
    made = SD3Transformer2DModel.from_config(config)
    assert torch.equal(transformer.pos_embed.pos_embed, made.pos_embed.pos_embed)
    encoder = random_pipeline(architecture, torch.float32, 0).text_encoder_3
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_prompts_images_and_gradients_are_finite(folder: Path, dtype: str) -> None:
    settings = ModelSettings(
        pretrained=str(folder), dtype=dtype, random_weights=True, max_sequence_length=16
    )
    model = load_model(settings, 1, torch.device("cpu"), TEXTS)
    backbone = model.backbone
    assert isinstance(backbone.frozen.pipeline.tokenizer, HashedWords)
    conditioning = backbone.conditioning(TEXTS)
    context, pooled = (conditioning.tensors[name] for name in ("context", "pooled"))
    assert not torch.equal(pooled[0], pooled[1])
    assert not torch.equal(context[0, 12:], context[1, 12:])
    policies = make_policies(model.family, model.network, settings)
    noise = torch.randn((2, *backbone.latent_shape(32)), generator=torch.manual_seed(0))
    latents = integrate(backbone, policies, Sampling("old", 4), noise, conditioning)
    images = backbone.decode(latents)
    assert latents.isfinite().all()
    assert images.isfinite().all()
    assert images.std() > 0.01
    velocity = policies.velocity("trained", noise, torch.full((2,), 0.5), conditioning)
    assert 0.1 < velocity.std() < 10.0
    velocity.square().sum().backward()
    found = [p.grad for p in policies.trained_parameters().values() if p.grad is not None]
    assert found
    assert all(gradient.isfinite().all() for gradient in found)


def test_a_deep_wide_encoder_stays_finite_in_bf16(architecture: Architecture) -> None:
    """T5's attention isn't scaled down, and its residuals have no norm in between."""
    t5 = {**architecture.parts["text_encoder_3"], "num_layers": 24, "d_kv": 64, "d_ff": 1024}
    deep = Architecture(architecture.name, {}, {**architecture.parts, "text_encoder_3": t5})
    encoder = random_pipeline(deep, torch.bfloat16, 0).text_encoder_3
    found = encoder(torch.arange(4)[None])[0]
    assert found.isfinite().all()
    assert 0.1 < found.float().std() < 10.0


def test_a_folders_own_tokenizers_are_used() -> None:
    pipeline = random_pipeline(folder_architecture(TINY), torch.float32, 0)
    own = StableDiffusion3Pipeline.from_pretrained(TINY)
    for name in ("tokenizer", "tokenizer_2"):
        assert getattr(pipeline, name)(TEXTS[0]) == getattr(own, name)(TEXTS[0])


def test_building_takes_little_more_than_the_weights(
    architecture: Architecture, live_bytes: Any
) -> None:
    """On the largest part: what torch holds at once, against what stays."""
    config = {**architecture.parts["transformer"], "num_layers": 10}
    wide = {**config, "attention_head_dim": 64, "num_attention_heads": 8}
    wide |= {"caption_projection_dim": 512}
    large = Architecture(architecture.name, {}, {**architecture.parts, "transformer": wide})
    with live_bytes:
        pipeline = random_pipeline(large, torch.bfloat16, 0)
    kept = sum(
        value.nbytes for part in parts(pipeline).values() for value in part.state_dict().values()
    )
    assert kept > 1e8
    # The drawn numbers (17 MB, once more in bf16) and one layer come on top.
    assert live_bytes.peak < 1.15 * kept + 3 * 2**24


def test_weights_of_a_published_size_are_quick_to_make() -> None:
    """CLIP's 124 million, as SD3 has them: drawing each would take seconds."""
    shipped = shipped_architecture("stabilityai/stable-diffusion-3.5-medium")
    tiny = folder_architecture(TINY)
    mixed = {**tiny.parts, "text_encoder": shipped.parts["text_encoder"]}
    absent = {"text_encoder_2", "text_encoder_3"}
    pipeline = random_pipeline(Architecture("x/y", {}, mixed), torch.bfloat16, 0, absent)
    assert sum(p.numel() for p in pipeline.text_encoder.parameters()) == 123_650_304
    found = pipeline.text_encoder(pipeline.tokenizer(TEXTS[0], return_tensors="pt").input_ids)
    assert found.text_embeds.isfinite().all()


def test_a_random_model_is_loaded_without_weights_or_hub(folder: Path, empty_cache: Path) -> None:
    assert not list(folder.rglob("*.safetensors"))
    settings = ModelSettings(pretrained=str(folder), random_weights=True, t5="none")
    pipeline = load_pipeline(load_request(settings))
    assert pipeline.text_encoder_3 is None
    assert json.loads((folder / "model_index.json").read_text())["text_encoder_3"][0]
