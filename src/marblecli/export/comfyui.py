"""ComfyUI: a file that is right for a reader that finds no alpha in it.

ComfyUI takes alpha for the rank where a layer has no ``.alpha`` (``comfy/weight_adapter/lora.py``),
so alpha / rank is folded into B. The keys are diffusers' layers, which ComfyUI maps to rows of the
published network (``comfy/lora.py``, ``model_lora_keys_unet``; ``comfy/utils.py``,
``mmdit_to_diffusers``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.export.format import ExportFormat, without_map
from marblecli.export.load_check import check_changes
from marblecli.export.subject import Subject, Writer
from marblecli.models.tensor_files import load_tensors

_TOLERANCE = 1e-5
_EPS = torch.finfo(torch.float32).eps
"""What ComfyUI adds to the length of a row before it divides by it."""


class ComfyUIFormat(ExportFormat):
    """``transformer.LAYER.lora_A.weight`` and ``.lora_B.weight``; DoRA has ``.dora_scale`` too.

    ComfyUI divides a row of DoRA by the length of the base's row, where DoRA's paper and peft
    divide by that of the sum (``comfy/weight_adapter/base.py``, ``weight_decompose``). The scale
    that is saved makes up for it, so that its product is the same.
    """

    name = "comfyui"

    def refusal(self, subject: Subject) -> str | None:
        if subject.full:
            return "this run trained all weights, and has no adapter; use difference or merged"
        return without_map(subject)

    def file(self, subject: Subject) -> str:
        return f"{subject.name}-comfyui.safetensors"

    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        tensors = {}
        prefix = subject.family.spec.adapters.export_prefix
        for name, layer in subject.lora.layers.items():
            folded = layer.folded()
            tensors[f"{prefix}{name}.lora_A.weight"] = folded.a
            tensors[f"{prefix}{name}.lora_B.weight"] = folded.b
            if layer.magnitude is not None:
                base = subject.base_weight(name).double()
                added = layer.scale * layer.b.double() @ layer.a.double()
                lengths = (base + added).norm(dim=1)
                scale = layer.magnitude.double() * (base.norm(dim=1) + _EPS) / lengths
                tensors[f"{prefix}{name}.dora_scale"] = scale.float()[:, None]
        writer.tensors(path, tensors, subject.described_base())

    def check(self, subject: Subject, path: Path) -> float:
        found = comfyui_changes(subject, load_tensors(path))
        return check_changes(subject, found, _TOLERANCE, "ComfyUI")


def comfyui_keys(subject: Subject) -> dict[str, str]:
    """The keys that ComfyUI loads into a layer of the published network -> diffusers' layer."""
    config = subject.architecture.parts["transformer"]
    return {f"transformer.{layer}": layer for layer in subject.family.native_layers(config)}


def comfyui_changes(
    subject: Subject, tensors: Mapping[str, Tensor]
) -> Iterator[tuple[str, Tensor]]:
    """Each layer's change [out, in], float64, by ComfyUI's own arithmetic.

    Raises MarbleError for a key that ComfyUI would leave out, with no more than a warning.
    """
    known, rest = comfyui_keys(subject), set(tensors)
    for key, layer in known.items():
        up, down = tensors.get(f"{key}.lora_B.weight"), tensors.get(f"{key}.lora_A.weight")
        if up is None or down is None:
            continue
        alpha, scale = tensors.get(f"{key}.alpha"), tensors.get(f"{key}.dora_scale")
        strength = 1.0 if alpha is None else float(alpha) / len(down)
        change = strength * up.double() @ down.double()
        if scale is not None:
            weight = subject.base_weight(layer).double()
            lengths = weight.norm(dim=1, keepdim=True) + _EPS
            change = (weight + change) * (scale.double() / lengths) - weight
        ends = ("lora_A.weight", "lora_B.weight", "alpha", "dora_scale")
        rest -= {f"{key}.{end}" for end in ends}
        yield layer, change
    if rest:
        raise MarbleError(f"the load check failed: ComfyUI doesn't know the key {min(rest)}")
