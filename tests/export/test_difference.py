from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from marblecli.errors import MarbleError
from marblecli.export.difference import DifferenceFormat
from marblecli.export.subject import Subject
from marblecli.runs.exports import ExportWriter
from support.published import converted, published_weights

FORMAT = DifferenceFormat()


def written(subject: Subject, folder: Path) -> Path:
    path = folder / FORMAT.file(subject)
    FORMAT.write(subject, path, ExportWriter())
    return path


def test_comfyui_adds_what_the_run_added(full_subject: Subject, tmp_path: Path) -> None:
    path = written(full_subject, tmp_path)
    assert FORMAT.check(full_subject, path) < 1e-6
    config = full_subject.architecture.parts["transformer"]
    layers = full_subject.family.native_layers(config)
    base = {name: p.detach() for name, p in full_subject.base.named_parameters()}
    published = published_weights(base, layers)
    tensors = load_file(path)
    added = {
        name: weight + tensors.pop(f"diffusion_model.{name.removesuffix('.weight')}.diff")
        for name, weight in published.items()
    }
    assert all(key.endswith(".diff_b") for key in tensors)
    whole = converted(added, config)
    for layer in layers:
        wanted = full_subject.weights[f"{layer}.weight"]
        torch.testing.assert_close(whole[f"{layer}.weight"], wanted, atol=1e-6, rtol=1e-6)


def test_biases_are_added_too(full_subject: Subject, tmp_path: Path) -> None:
    tensors = load_file(written(full_subject, tmp_path))
    parts = [
        full_subject.weights[f"transformer_blocks.0.attn.to_{letter}.bias"]
        - full_subject.base.get_parameter(f"transformer_blocks.0.attn.to_{letter}.bias").detach()
        for letter in "qkv"
    ]
    found = tensors["diffusion_model.joint_blocks.0.x_block.attn.qkv.diff_b"]
    torch.testing.assert_close(found, torch.cat(parts))


def test_bf16_rounds_the_difference_alone(full_subject: Subject, tmp_path: Path) -> None:
    half = replace(full_subject, dtype=torch.bfloat16)
    assert 1e-4 < FORMAT.check(half, written(half, tmp_path)) < 0.01


def test_a_difference_of_another_size_fails_the_check(
    full_subject: Subject, tmp_path: Path
) -> None:
    path = written(full_subject, tmp_path)
    tensors = load_file(path)
    key = "diffusion_model.final_layer.linear.diff"
    save_file(tensors | {key: 2 * tensors[key]}, path)
    with pytest.raises(MarbleError, match=r"ComfyUI loads another proj_out\.weight"):
        FORMAT.check(full_subject, path)
    save_file(tensors | {"x.diff": torch.ones(1)}, path)
    with pytest.raises(MarbleError, match=r"doesn't know the key x\.diff"):
        FORMAT.check(full_subject, path)


def test_an_adapter_is_refused(subject_of: Callable[..., Subject], full_subject: Subject) -> None:
    assert "use comfyui" in (FORMAT.refusal(subject_of()) or "")
    assert FORMAT.refusal(full_subject) is None
