"""Of a run of all weights, what it added to the base: a file that ComfyUI loads as it does a LoRA.

ComfyUI adds ``LAYER.diff`` to the weight of a layer of the published network, and ``LAYER.diff_b``
to its bias (``comfy/lora.py``, ``load_lora``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.export.format import ExportFormat, without_map
from marblecli.export.load_check import check_weights
from marblecli.export.subject import Subject, Writer
from marblecli.models.native import NativeLayer
from marblecli.models.tensor_files import load_tensors

_ENDS = {"weight": "diff", "bias": "diff_b"}
"""A parameter's name in its layer -> the end of the key."""


class DifferenceFormat(ExportFormat):
    """``diffusion_model.joint_blocks.0.x_block.attn.qkv.diff`` and ``.diff_b``."""

    name = "difference"

    def refusal(self, subject: Subject) -> str | None:
        if not subject.full:
            return "this run trained an adapter, which is much smaller; use comfyui"
        return without_map(subject)

    def file(self, subject: Subject) -> str:
        return f"{subject.name}-difference.safetensors"

    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        added = _differences(subject)
        tensors = {}
        for name, places in _published(subject).items():
            for parameter, end in _ENDS.items():
                parts = [_part(added, layer, parameter, native) for layer, native in places]
                whole = [part for part in parts if part is not None]
                if len(whole) == len(places):
                    key = f"diffusion_model.{name}.{end}"
                    tensors[key] = torch.cat(whole).to(subject.dtype)
        if added:
            raise MarbleError(f"{min(added)} isn't mapped to the published network")
        writer.tensors(path, tensors, subject.described_base())

    def check(self, subject: Subject, path: Path) -> float:
        found = _read(subject, load_tensors(path))
        return check_weights(found, _differences(subject), subject.dtype, "ComfyUI")


def _differences(subject: Subject) -> dict[str, Tensor]:
    """What was added to each parameter, by diffusers' names."""
    base = dict(subject.base.named_parameters())
    return {
        name: weight.float() - base[name].detach().float()
        for name, weight in subject.weights.items()
    }


Places = list[tuple[str, NativeLayer]]


def _published(subject: Subject) -> dict[str, Places]:
    """Diffusers' layers of each published layer, in the order of their rows."""
    found: dict[str, Places] = {}
    config = subject.architecture.parts["transformer"]
    for layer, native in subject.family.native_layers(config).items():
        found.setdefault(native.name, []).append((layer, native))
    return found


def _part(
    added: dict[str, Tensor], layer: str, parameter: str, native: NativeLayer
) -> Tensor | None:
    """Take a parameter's difference out of ``added``, in the published order of its rows."""
    part = added.pop(f"{layer}.{parameter}", None)
    return part if part is None else _turned(part, native)


def _turned(part: Tensor, native: NativeLayer) -> Tensor:
    return torch.cat(part.chunk(2)[::-1]) if native.swapped else part


def _read(subject: Subject, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """What ComfyUI adds, by diffusers' names. Raises MarbleError for a key that it leaves out."""
    rest = set(tensors)
    for name, places in _published(subject).items():
        for parameter, end in _ENDS.items():
            key = f"diffusion_model.{name}.{end}"
            if key not in tensors:
                continue
            rest.discard(key)
            for piece, (layer, native) in zip(tensors[key].chunk(len(places)), places, strict=True):
                yield f"{layer}.{parameter}", _turned(piece, native)
    if rest:
        raise MarbleError(f"the load check failed: ComfyUI doesn't know the key {min(rest)}")
