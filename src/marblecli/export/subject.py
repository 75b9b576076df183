"""What is exported, and who writes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from marblecli.models.adapter_weights import AdapterWeights, adapter_of
from marblecli.models.configurations import Architecture
from marblecli.models.family import Family, LoadRequest
from marblecli.settings import ModelSettings


class Writer(Protocol):
    """How files get onto the disk: only the room ``runs`` writes."""

    def tensors(
        self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        """Write a safetensors file."""

    def pretrained(self, folder: Path, model: Any) -> None:
        """Have a model of diffusers write itself into a folder, which is made."""


@dataclass(frozen=True)
class Subject:
    """The trained weights of a run, with the model that they change."""

    name: str
    """The run's, of which files are named."""
    model: ModelSettings
    seed: int
    """Of random weights."""
    family: Family
    architecture: Architecture
    weights: Mapping[str, Tensor]
    """The trained policy's, by the names of its parameters, on the CPU."""
    dtype: torch.dtype = torch.float32
    """What whole networks are written in; adapters are in float32."""

    @property
    def full(self) -> bool:
        """Whether all weights were trained, and there is no adapter."""
        return self.model.mode == "full"

    @cached_property
    def adapter(self) -> AdapterWeights | None:
        """The adapter, in LoRA mode."""
        return None if self.full else adapter_of(self.weights, self.model.lora)

    @property
    def lora(self) -> AdapterWeights:
        """The adapter, where there is known to be one; formats refuse other runs."""
        if self.adapter is None:
            raise TypeError("a run of all weights has no adapter")
        return self.adapter

    @cached_property
    def base(self) -> nn.Module:
        """The base's network, with the weights that the run had. It is loaded once."""
        request = LoadRequest(self.model, self.architecture, self.seed, encoders=False)
        return self.family.load(request).network

    @cached_property
    def pipeline(self) -> Any:
        """The base's pipeline of diffusers, of which all parts but the network are as they were."""
        return self.family.pipeline(LoadRequest(self.model, self.architecture, self.seed))

    def base_weight(self, layer: str) -> Tensor:
        """[out, in], float32."""
        return self.base.get_parameter(f"{layer}.weight").detach().float()

    def change(self, layer: str) -> Tensor:
        """float64 [out, in]: what the adapter adds to a layer's weight."""
        weight = self.base_weight(layer) if self.lora.dora else None
        return self.lora.layers[layer].change(weight)

    def described_base(self) -> dict[str, str]:
        """The base model, by the names of peft's ``LoraConfig``."""
        named = {"base_model_name_or_path": self.model.pretrained}
        return named if self.model.revision is None else named | {"revision": self.model.revision}
