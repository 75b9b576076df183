"""Adapters and networks as diffusers itself writes, reads and fuses them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import torch
from diffusers.loaders.lora_base import LORA_WEIGHT_NAME_SAFE
from diffusers.loaders.peft import PeftAdapterMixin
from torch import Tensor, nn
from torch.nn import Parameter

from marblecli.errors import MarbleError
from marblecli.models.adapter_weights import MAGNITUDE, AdapterWeights
from marblecli.models.configurations import INDEX, Architecture
from marblecli.models.family import Family
from marblecli.models.random import empty_part

WEIGHTS_FILE: str = LORA_WEIGHT_NAME_SAFE
"""What diffusers calls an adapter's file."""
BaseWeight = Callable[[str], Tensor]
"""Layer -> the base's weight [out, in]."""
_SAVED_MAGNITUDE = MAGNITUDE.removesuffix(".weight")
"""As peft names it in files."""


def pipeline_class(family: Family) -> Any:
    """The class of diffusers that runs the family's models."""
    return getattr(diffusers, family.spec.classes[INDEX])


def save_adapter(
    family: Family, path: Path, adapter: AdapterWeights, base: Mapping[str, str]
) -> None:
    """Have diffusers write the adapter's file, with the settings of peft that it needs.

    ``base`` names the base model, by names of peft's ``LoraConfig``. No setting is written that an
    older peft could stumble over.
    """
    settings = adapter.settings()
    targets = settings.targets or ()
    pipeline_class(family).save_lora_weights(
        path.parent,
        weight_name=path.name,
        transformer_lora_layers={
            name.replace(MAGNITUDE, _SAVED_MAGNITUDE): tensor.contiguous()
            for name, tensor in adapter.tensors().items()
        },
        transformer_lora_adapter_metadata={
            "r": settings.rank,
            "lora_alpha": settings.alpha,
            "target_modules": list(targets),
            "use_dora": settings.dora,
            **base,
        },
    )


def fused_changes(
    family: Family, architecture: Architecture, path: Path, base: BaseWeight | None
) -> Iterator[tuple[str, Tensor]]:
    """Load an adapter's file as diffusers does, fuse it, and yield each weight's change.

    It is loaded into a network of that architecture in which only the adapted layers have weights:
    the ``base``'s, or zeros, which are enough for what isn't DoRA. Yields (layer, float64
    [out, in]) for every linear layer that changed, and for none twice.

    Raises MarbleError, in one line, if diffusers can't load it.
    """
    loader = pipeline_class(family)
    network = empty_part(partial(family.build, "transformer", architecture.parts["transformer"]))
    if not isinstance(network, PeftAdapterMixin):
        raise MarbleError(f"diffusers loads no adapters into {type(network).__name__}")
    state, metadata = loader.lora_state_dict(path, return_lora_metadata=True)
    prefix = family.spec.adapters.export_prefix
    adapted = []
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Linear) and f"{prefix}{name}.lora_A.weight" in state:
            shape = (layer.out_features, layer.in_features)
            weight = torch.zeros(shape) if base is None else base(name).float().clone()
            layer.weight = Parameter(weight, requires_grad=False)
            adapted.append(name)
    try:
        loader.load_lora_into_transformer(state, network, metadata=metadata)
    except (RuntimeError, ValueError, TypeError) as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"diffusers can't load the adapter {path}: {reason}") from error
    network.fuse_lora()
    network.unload_lora()
    for name in adapted:
        fused = network.get_parameter(f"{name}.weight").detach().double()
        yield name, fused if base is None else fused - base(name).double()


def load_network(family: Family, folder: Path) -> nn.Module:
    """The network in a folder that diffusers wrote, in float32. Raises MarbleError if it can't."""
    kind = getattr(diffusers, family.spec.classes["transformer"])
    try:
        network: nn.Module = kind.from_pretrained(folder, torch_dtype=torch.float32)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"diffusers can't load {folder}: {reason}") from error
    return network


def load_pipeline_again(family: Family, folder: Path, pipeline: Any) -> Any:
    """The pipeline in a folder that diffusers wrote; all but its network are ``pipeline``'s.

    Raises MarbleError if it can't be loaded.
    """
    others = {name: part for name, part in pipeline.components.items() if name != "transformer"}
    try:
        return pipeline_class(family).from_pretrained(folder, **others)
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise MarbleError(f"diffusers can't load {folder}: {reason}") from error
