"""The keys under which tools save adapters: which layer of the network each of them is of.

==========================  =====================================================================
marble's checkpoints        ``LAYER.lora_A.weight``, ``.lora_B.weight``,
                            ``.lora_magnitude_vector.weight``; alpha is in the run's recipe
diffusers                   ``transformer.LAYER.lora_A.weight``...; rank and alpha are in the file's
                            metadata, and alpha is the rank where there is none
PEFT                        ``base_model.model.LAYER.lora_A.weight``...; rank and alpha are in
                            ``adapter_config.json``
ComfyUI                     diffusers' keys, or ``diffusion_model.NATIVE.lora_up.weight``...;
                            alpha is the rank where a layer has no ``.alpha``
sd-scripts (kohya), Forge   ``lora_unet_NATIVE.lora_down.weight``, ``.lora_up.weight``, ``.alpha``
OneTrainer, SimpleTuner     ``lora_transformer_LAYER``..., ``lycoris_LAYER``...
==========================  =====================================================================

LAYER is the name in diffusers' network, NATIVE that in the published one
(:mod:`marblecli.models.native`); where there are no dots, underscores stand for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from marblecli.models.native import NativeLayer

Role = Literal["a", "b", "alpha", "magnitude", "native magnitude"]

_ENDS: Mapping[str, Role] = {
    ".lora_A.weight": "a",
    ".lora_A.default.weight": "a",
    ".lora_down.weight": "a",
    ".lora.down.weight": "a",
    "_lora.down.weight": "a",
    ".lora_B.weight": "b",
    ".lora_B.default.weight": "b",
    ".lora_up.weight": "b",
    ".lora.up.weight": "b",
    "_lora.up.weight": "b",
    ".alpha": "alpha",
    ".lora_magnitude_vector": "magnitude",
    ".lora_magnitude_vector.weight": "magnitude",
    ".lora_magnitude_vector.default.weight": "magnitude",
    ".dora_scale": "native magnitude",
}
"""What a tensor is, by the end of its key."""


@dataclass(frozen=True)
class Stem:
    """What stands before the end of a key."""

    layer: str
    """The layer in diffusers' network."""
    native: NativeLayer | None = None
    """Where the key is of a layer of the published network: that layer."""
    bare: bool = False
    """Whether the key has no prefix: such files don't say their alpha."""


def split_key(key: str) -> tuple[str, Role] | None:
    """The stem and what the tensor is; None if no end is known."""
    for end, role in _ENDS.items():
        if key.endswith(end):
            return key.removesuffix(end), role
    return None


def stems(
    layers: Iterable[str], native: Mapping[str, NativeLayer], export_prefix: str
) -> dict[str, list[Stem]]:
    """The layers of each stem that a tool may write for one of ``layers``.

    There are several of them where the published network has one layer for several of diffusers'.
    """
    found: dict[str, list[Stem]] = {}
    for layer in layers:
        flat = layer.replace(".", "_")
        prefixed = (
            f"{export_prefix}{layer}",
            f"base_model.model.{layer}",
            f"lora_transformer_{flat}",
            f"lycoris_{flat}",
        )
        for stem in prefixed:
            found[stem] = [Stem(layer)]
        found[layer] = [Stem(layer, bare=True)]
        if there := native.get(layer):
            flat = there.name.replace(".", "_")
            for stem in (f"lora_unet_{flat}", f"diffusion_model.{there.name}"):
                found.setdefault(stem, []).append(Stem(layer, there))
    return found
