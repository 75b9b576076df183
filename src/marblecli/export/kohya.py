"""sd-scripts (kohya): its ``networks/lora_sd3.py`` loads this, and so do Forge and ComfyUI.

Keys are the published network's layers with underscores. Where that has queries, keys and values as
one layer, the three adapters are stacked: A's below one another, B's along the diagonal. That is an
adapter of three times the rank; at three times the alpha it has the same scale.
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
from marblecli.models.adapter_weights import AdapterLayer
from marblecli.models.native import NativeLayer
from marblecli.models.tensor_files import load_tensors

_TOLERANCE = 1e-5
_ENDS = ("lora_down.weight", "lora_up.weight", "alpha")


class KohyaFormat(ExportFormat):
    """``lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight``, ``.lora_up.weight`` and
    ``.alpha``.
    """

    name = "kohya"

    def refusal(self, subject: Subject) -> str | None:
        if subject.full:
            return "kohya's files hold adapters, and this run trained all weights; use merged"
        if subject.model.lora.dora:
            return "sd-scripts' adapters of Stable Diffusion 3 have no DoRA; use comfyui or merged"
        return without_map(subject)

    def file(self, subject: Subject) -> str:
        return f"{subject.name}-kohya.safetensors"

    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        tensors: dict[str, Tensor] = {}
        for name, places in _native(subject).items():
            down, up, alpha = _stacked(subject.lora.layers, places)
            stem = f"lora_unet_{name.replace('.', '_')}"
            values = (down, up, torch.tensor(alpha))
            tensors |= {f"{stem}.{end}": value for end, value in zip(_ENDS, values, strict=True)}
        settings = subject.lora.settings()
        metadata = {
            "ss_network_module": "networks.lora_sd3",
            "ss_network_dim": str(settings.rank),
            "ss_network_alpha": str(settings.alpha),
            **subject.described_base(),
        }
        writer.tensors(path, tensors, metadata)

    def check(self, subject: Subject, path: Path) -> float:
        found = kohya_changes(subject, load_tensors(path))
        return check_changes(subject, found, _TOLERANCE, "sd-scripts")


Places = dict[str, NativeLayer]
"""diffusers' layers of one published layer."""


def _native(subject: Subject) -> dict[str, Places]:
    """The published layers of which any piece is adapted, each with all of its pieces."""
    found: dict[str, Places] = {}
    config = subject.architecture.parts["transformer"]
    for layer, native in subject.family.native_layers(config).items():
        found.setdefault(native.name, {})[layer] = native
    return {
        name: places for name, places in found.items() if places.keys() & subject.lora.layers.keys()
    }


def _stacked(layers: Mapping[str, AdapterLayer], places: Places) -> tuple[Tensor, Tensor, float]:
    """A, B and alpha of one published layer; a piece that isn't adapted has zeros."""
    some = next(layers[layer] for layer in places if layer in layers)
    parts = [layers[name] if name in layers else _nothing(some) for name in places]
    if len(parts) == 1:
        (native,) = places.values()
        up = torch.cat(some.b.chunk(2)[::-1]) if native.swapped else some.b
        return some.a, up, some.alpha
    down = torch.cat([part.a for part in parts])
    up = torch.zeros(sum(len(part.b) for part in parts), len(down))
    for place, part in enumerate(parts):
        rows, columns = len(part.b), part.rank
        up[place * rows : (place + 1) * rows, place * columns : (place + 1) * columns] = part.b
    return down, up, some.alpha * len(parts)


def _nothing(like: AdapterLayer) -> AdapterLayer:
    return AdapterLayer(torch.zeros_like(like.a), torch.zeros_like(like.b), like.alpha)


def kohya_changes(subject: Subject, tensors: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Each adapted layer's change [out, in], float64, by the arithmetic of sd-scripts.

    ``networks/lora_flux.py``, ``LoRAInfModule.merge_to``: up @ down, times alpha / rank.

    Raises MarbleError for a key that sd-scripts would leave out.
    """
    rest = set(tensors)
    for name, places in _native(subject).items():
        keys = [f"lora_unet_{name.replace('.', '_')}.{end}" for end in _ENDS]
        if not rest.issuperset(keys):
            continue
        rest -= set(keys)
        down, up, alpha = (tensors[key] for key in keys)
        whole = float(alpha) / len(down) * up.double() @ down.double()
        for piece, (layer, native) in zip(whole.chunk(len(places)), places.items(), strict=True):
            change = torch.cat(piece.chunk(2)[::-1]) if native.swapped else piece
            if layer in subject.lora.layers:
                yield layer, change
    if rest:
        raise MarbleError(f"the load check failed: sd-scripts doesn't know the key {min(rest)}")
