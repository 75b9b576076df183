"""What plain diffusers makes of the file, by its own loader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import SD3Transformer2DModel, StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file

from marblecli.errors import MarbleError
from marblecli.export.diffusers_format import DiffusersFormat
from marblecli.export.subject import Subject
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.sd3.family import SD3
from marblecli.runs.exports import ExportWriter

FORMAT = DiffusersFormat()
SHAPES = [(16, 32.0, False), (4, 4.0, False), (16, 32.0, True), (4, 4.0, True)]


def written(subject: Subject, folder: Path) -> Path:
    path = folder / FORMAT.file(subject)
    FORMAT.write(subject, path, ExportWriter())
    return path


@pytest.mark.parametrize(("rank", "alpha", "dora"), SHAPES)
def test_diffusers_loads_fuses_and_samples_what_the_run_has(
    subject_of: Callable[..., Subject], tiny_folder: Path, tmp_path: Path,
    rank: int, alpha: float, dora: bool,
) -> None:  # fmt: skip
    subject = subject_of(rank, alpha, dora)
    path = written(subject, tmp_path)
    assert path.name == "pytorch_lora_weights.safetensors"
    assert FORMAT.check(subject, path) < 1e-5

    pipeline = StableDiffusion3Pipeline.from_pretrained(tiny_folder)
    pipeline.load_lora_weights(tmp_path)
    pipeline.fuse_lora()
    fused = pipeline.transformer
    network = SD3Transformer2DModel.from_pretrained(tiny_folder / "transformer")
    policies = LoraPolicies(SD3, network, subject.model.lora, torch.float32, old=False)
    policies.load_trained(subject.weights)

    moved = 0.0
    for layer in subject.lora.layers:
        weight = fused.get_submodule(layer).weight
        ours = subject.base_weight(layer).double() + subject.change(layer)
        torch.testing.assert_close(weight.double(), ours, atol=1e-6, rtol=1e-6)
        moved = max(moved, float(subject.change(layer).abs().max()))
    assert moved > 0.01

    g = torch.Generator().manual_seed(0)
    config = fused.config
    inputs = {
        "hidden_states": torch.randn(2, config.in_channels, 8, 8, generator=g),
        "timestep": torch.tensor([300.0, 700.0]),
        "encoder_hidden_states": torch.randn(2, 5, config.joint_attention_dim, generator=g),
        "pooled_projections": torch.randn(2, config.pooled_projection_dim, generator=g),
        "return_dict": False,
    }
    with torch.no_grad():
        theirs = fused(**inputs)[0]
        ours = policies.network("trained")(**inputs)[0]
        base = policies.network("reference")(**inputs)[0]
    torch.testing.assert_close(theirs, ours, atol=1e-3, rtol=1e-3)
    assert (ours - base).abs().max() > 0.01


def test_half_the_strength_fails_the_check(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    """As a file does whose alpha is in no metadata."""
    subject = subject_of(2, 4.0)
    path = written(subject, tmp_path)
    save_file(load_file(path), path)
    with pytest.raises(MarbleError, match=r"load check failed: diffusers changes .* otherwise"):
        FORMAT.check(subject, path)


def test_a_layer_that_is_missing_fails_the_check(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of(2, 2.0)
    path = written(subject, tmp_path)
    tensors = {key: t for key, t in load_file(path).items() if "0.attn.to_q" not in key}
    save_file(tensors, path)
    with pytest.raises(MarbleError, match="doesn't load 1 of 8 layers"):
        FORMAT.check(subject, path)


def test_full_weights_are_a_network_folder(full_subject: Subject, tmp_path: Path) -> None:
    path = written(full_subject, tmp_path)
    assert path.name == "transformer"
    assert FORMAT.check(full_subject, path) == 0.0
    loaded = SD3Transformer2DModel.from_pretrained(path).state_dict()
    for name, weight in full_subject.weights.items():
        assert torch.equal(loaded[name], weight)
