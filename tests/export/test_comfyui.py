from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.export.comfyui import ComfyUIFormat
from marblecli.export.subject import Subject
from marblecli.models.native import NativeLayer
from marblecli.runs.exports import ExportWriter
from support.published import converted, published_weights

FORMAT = ComfyUIFormat()
SHAPES = [(16, 32.0, False), (4, 4.0, False), (16, 32.0, True), (4, 4.0, True)]


def written(subject: Subject, folder: Path) -> Path:
    path = folder / FORMAT.file(subject)
    FORMAT.write(subject, path, ExportWriter())
    return path


def patched(tensors: dict[str, Tensor], weight: Tensor, stem: str) -> Tensor:
    """The rows of a weight as ComfyUI patches them, in float32; without alpha the scale is 1."""
    diff = tensors[f"{stem}.lora_B.weight"] @ tensors[f"{stem}.lora_A.weight"]
    summed = weight + diff
    if (scale := tensors.get(f"{stem}.dora_scale")) is None:
        return summed
    # Its "wd_on_output_axis": rows are divided by the length of the unpatched weight's.
    assert scale.shape == (len(weight), 1)
    return summed * (scale / (weight.norm(dim=1, keepdim=True) + torch.finfo(torch.float32).eps))


def comfyui(
    tensors: dict[str, Tensor], published: dict[str, Tensor], layers: dict[str, NativeLayer]
) -> dict[str, Tensor]:
    """The published weights as ComfyUI patches their rows."""
    found = {name: weight.clone() for name, weight in published.items()}
    used = set()
    for layer, native in layers.items():
        stem = f"transformer.{layer}"
        if f"{stem}.lora_A.weight" not in tensors:
            continue
        rows = found[f"{native.name}.weight"].chunk(native.pieces)[native.piece]
        rows.copy_(patched(tensors, rows, stem))
        used |= {key for key in tensors if key.startswith(f"{stem}.")}
    assert used == tensors.keys()
    return found


@pytest.mark.parametrize(("rank", "alpha", "dora"), SHAPES)
def test_comfyui_patches_what_the_run_has(
    subject_of: Callable[..., Subject], tmp_path: Path, rank: int, alpha: float, dora: bool
) -> None:
    subject = subject_of(rank, alpha, dora)
    path = written(subject, tmp_path)
    tensors = load_file(path)
    assert not any(key.endswith(".alpha") for key in tensors)
    assert FORMAT.check(subject, path) < 1e-5

    config = subject.architecture.parts["transformer"]
    layers = dict(subject.family.native_layers(config))
    base = {name: p.detach() for name, p in subject.base.named_parameters()}
    whole = converted(comfyui(tensors, published_weights(base, layers), layers), config)
    for layer in subject.lora.layers:
        change = (whole[f"{layer}.weight"] - base[f"{layer}.weight"]).double()
        torch.testing.assert_close(change, subject.change(layer), atol=1e-5, rtol=1e-5)


def test_what_comfyui_would_leave_out_fails_the_check(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    subject = subject_of(2, 4.0)
    path = written(subject, tmp_path)
    tensors = load_file(path)
    save_file({key.removeprefix("transformer."): t for key, t in tensors.items()}, path)
    with pytest.raises(MarbleError, match="ComfyUI doesn't know the key"):
        FORMAT.check(subject, path)
    halved = {key: t / 2 if "lora_B" in key else t for key, t in tensors.items()}
    save_file(halved, path)
    with pytest.raises(MarbleError, match="ComfyUI changes"):
        FORMAT.check(subject, path)


def test_a_run_of_all_weights_is_refused(full_subject: Subject) -> None:
    assert "trained all weights" in (FORMAT.refusal(full_subject) or "")
