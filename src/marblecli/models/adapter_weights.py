"""An adapter's weights, by the layers that they are of: whatever file they came from or go to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from torch import Tensor
from torch.nn.functional import pad

from marblecli.errors import BadInputError
from marblecli.settings import LoraSettings

A, B, MAGNITUDE = "lora_A.weight", "lora_B.weight", "lora_magnitude_vector.weight"
"""Ends of the names that :meth:`marblecli.models.adapters.Adapters.parameters` gives."""


@dataclass(frozen=True)
class AdapterLayer:
    """What is added to one layer's weight W [out, in]: alpha / rank B A.

    With a magnitude m it is DoRA: the weight is m (W + alpha / rank B A), where each row has been
    divided by its length (arXiv 2402.09353, equation 5).
    """

    a: Tensor
    """[rank, in]"""
    b: Tensor
    """[out, rank]"""
    alpha: float
    magnitude: Tensor | None = None
    """[out]"""

    @property
    def rank(self) -> int:
        return len(self.a)

    @property
    def scale(self) -> float:
        """What B A is multiplied by."""
        return self.alpha / self.rank

    def folded(self) -> AdapterLayer:
        """The same change of the weight with alpha = rank: the scale is in B."""
        return replace(self, b=self.b * self.scale, alpha=float(self.rank))

    def widened(self, rank: int) -> AdapterLayer:
        """The same with alpha = rank, at a higher rank: the new rows and columns are zero."""
        more = rank - self.rank
        a, b = pad(self.a, (0, 0, 0, more)), pad(self.folded().b, (0, more))
        return replace(self, a=a, b=b, alpha=float(rank))

    def change(self, weight: Tensor | None = None) -> Tensor:
        """float64 [out, in]: the adapted weight minus ``weight`` [out, in], which only DoRA needs.

        Raises ValueError if DoRA isn't given it.
        """
        added = self.scale * (self.b.double() @ self.a.double())
        if self.magnitude is None:
            return added
        if weight is None:
            raise ValueError("a change by DoRA depends on the weight")
        base = weight.double()
        moved = base + added
        lengths = moved.norm(dim=1, keepdim=True)
        return self.magnitude.double()[:, None] * moved / lengths - base


@dataclass(frozen=True)
class AdapterWeights:
    """The adapted layers by their dotted names in the network, in its order."""

    layers: Mapping[str, AdapterLayer]

    @property
    def dora(self) -> bool:
        """Whether its layers have magnitudes."""
        return any(layer.magnitude is not None for layer in self.layers.values())

    def uniform(self) -> AdapterWeights:
        """The same change of the weights with one rank and one alpha for all layers.

        It is unchanged, bit for bit, where it has that already.
        """
        layers = self.layers.values()
        if len({(layer.rank, layer.alpha) for layer in layers}) == 1:
            return self
        rank = max(layer.rank for layer in layers)
        return AdapterWeights({name: layer.widened(rank) for name, layer in self.layers.items()})

    def settings(self) -> LoraSettings:
        """The adapters of a network that can hold the weights of :meth:`tensors`."""
        first = next(iter(self.uniform().layers.values()))
        return LoraSettings(
            rank=first.rank, alpha=first.alpha, targets=tuple(self.layers), dora=self.dora
        )

    def tensors(self) -> dict[str, Tensor]:
        """float32, by the names of the trained policy's parameters."""
        found = {}
        for name, layer in self.uniform().layers.items():
            found[f"{name}.{A}"], found[f"{name}.{B}"] = layer.a.float(), layer.b.float()
            if layer.magnitude is not None:
                found[f"{name}.{MAGNITUDE}"] = layer.magnitude.float()
        return found


def adapter_of(tensors: Mapping[str, Tensor], settings: LoraSettings) -> AdapterWeights:
    """The adapter that a run's parameters are, as a checkpoint holds them.

    Raises BadInputError if they aren't those of an adapter of these settings.
    """
    names = [name.removesuffix(f".{A}") for name in tensors if name.endswith(f".{A}")]
    layers = {}
    for name in names:
        magnitude = tensors.get(f"{name}.{MAGNITUDE}")
        if f"{name}.{B}" not in tensors or (magnitude is None) is settings.dora:
            raise BadInputError(f"the adapter of {name} isn't whole")
        a, b = tensors[f"{name}.{A}"], tensors[f"{name}.{B}"]
        if a.ndim != 2:
            raise BadInputError(f"{name} is no linear layer: its adapter can't be exported")
        layers[name] = AdapterLayer(a, b, settings.alpha, magnitude)
    if not layers or any(layer.rank != settings.rank for layer in layers.values()):
        raise BadInputError(f"the weights are no adapters of rank {settings.rank}")
    return AdapterWeights(layers)
