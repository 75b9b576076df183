"""From an adapter's file, whoever wrote it, to the layers that it is of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from typing import Any

import torch
from peft.utils.other import get_pattern_key
from torch import Tensor, nn

from marblecli.errors import BadInputError
from marblecli.models.adapter_keys import Role, Stem, split_key, stems
from marblecli.models.adapter_weights import AdapterLayer, AdapterWeights
from marblecli.models.configurations import Architecture
from marblecli.models.family import Family
from marblecli.models.random import empty_part
from marblecli.types import AdapterFile

Parts = dict[Role, Tensor]


def read_adapter(
    file: AdapterFile, family: Family, architecture: Architecture, alpha: float | None = None
) -> AdapterWeights:
    """The adapter for a model of that family and architecture, at the strength it was trained with.

    ``alpha`` is that of files whose keys have no prefix and that don't say it themselves.

    Raises BadInputError, in one line, for keys that are of no layer of the model, for weights of
    other shapes, for what can't be read (DoRA in ComfyUI's keys), and if alpha isn't known.
    """
    config = architecture.parts["transformer"]
    network = empty_part(partial(family.build, "transformer", config))
    linear = {name: part for name, part in network.named_modules() if isinstance(part, nn.Linear)}
    known = stems(linear, family.native_layers(config), family.spec.adapters.export_prefix)
    reader = _Reader(file, architecture.name, alpha)
    found: dict[str, AdapterLayer] = {}
    for stem, parts in reader.parts(known).items():
        for place in known[stem]:
            found[place.layer] = _piece(reader.layer(stem, parts, place), place)
    for name, layer in found.items():
        _check_shape(layer, linear[name], f"{file.place}: {name}", architecture.name)
    if len({layer.magnitude is None for layer in found.values()}) > 1:
        raise BadInputError(
            f"{file.place}: only some of its layers are DoRA, which isn't supported"
        )
    return AdapterWeights({name: found[name] for name in linear if name in found})


@dataclass(frozen=True)
class _Reader:
    file: AdapterFile
    model: str
    alpha: float | None

    def parts(self, known: Mapping[str, list[Stem]]) -> dict[str, Parts]:
        """The file's tensors by stem. Every key must be known."""
        found: dict[str, Parts] = {}
        strange = []
        for key, tensor in self.file.tensors.items():
            split = split_key(key)
            if split is None or split[0] not in known:
                strange.append(key)
            else:
                found.setdefault(split[0], {})[split[1]] = tensor
        if strange:
            raise BadInputError(
                f"{self.file.place}: {len(strange)} of {len(self.file.tensors)} keys are of no "
                f"adapter of a layer of {self.model}, such as {strange[0]!r}"
            )
        if not found:
            raise BadInputError(f"{self.file.place}: holds no adapter")
        return found

    def layer(self, stem: str, parts: Parts, place: Stem) -> AdapterLayer:
        if "native magnitude" in parts:
            raise BadInputError(
                f"{self.file.place}: DoRA in ComfyUI's keys depends on the weights that it was "
                "made for, and can't be read; give the diffusers file"
            )
        if "a" not in parts or "b" not in parts:
            raise BadInputError(f"{self.file.place}: {stem} has only one of its two matrices")
        a, b = parts["a"].flatten(1), parts["b"].flatten(1)
        return AdapterLayer(a, b, self._alpha(parts, place, len(a)), parts.get("magnitude"))

    def _alpha(self, parts: Parts, place: Stem, rank: int) -> float:
        if "alpha" in parts:
            return float(parts["alpha"])
        settings: Mapping[str, Any] = self.file.settings
        if "lora_alpha" in settings:
            pattern = settings.get("alpha_pattern") or {}
            alpha = pattern.get(get_pattern_key(pattern, place.layer), settings["lora_alpha"])
            # In rank-stabilised LoRA the scale is alpha / sqrt(rank).
            return float(alpha) * (sqrt(rank) if settings.get("use_rslora") else 1.0)
        if not place.bare:
            return float(rank)
        if self.alpha is None:
            raise BadInputError(
                f"{self.file.place}: doesn't say its alpha, which is in the recipe of its run: "
                "give the run directory, or a file that `marble export` wrote"
            )
        return self.alpha


def _piece(layer: AdapterLayer, place: Stem) -> AdapterLayer:
    """The part of an adapter of a published layer that is of diffusers' layer."""
    native = place.native
    if native is None or (native.pieces == 1 and not native.swapped):
        return layer
    if native.swapped:
        first, second = layer.b.chunk(2)
        return AdapterLayer(layer.a, torch.cat((second, first)), layer.alpha)
    b = layer.b.chunk(native.pieces)[native.piece]
    rank, rest = divmod(layer.rank, native.pieces)
    own = slice(native.piece * rank, (native.piece + 1) * rank)
    elsewhere = b.clone()
    elsewhere[:, own] = 0
    if rest or elsewhere.any():
        return AdapterLayer(layer.a, b, layer.alpha)
    # Block-diagonal: each piece is an adapter of its own, of the same scale.
    return AdapterLayer(layer.a[own], b[:, own], layer.alpha / native.pieces)


def _check_shape(layer: AdapterLayer, linear: nn.Linear, place: str, model: str) -> None:
    found, wanted = (len(layer.b), layer.a.shape[1]), (linear.out_features, linear.in_features)
    if found != wanted or layer.b.shape[1] != layer.rank:
        raise BadInputError(
            f"{place} changes a weight of {found[0]} x {found[1]}, and that of {model} has "
            f"{wanted[0]} x {wanted[1]}: the adapter is for another model"
        )
