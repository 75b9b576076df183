"""Which layers of a network an adapter can sit on, by the ends of their dotted names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from marblecli.errors import did_you_mean

if TYPE_CHECKING:
    from marblecli.models.family import AdapterRules

_ADAPTABLE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)
"""Kinds of layer that peft knows how to adapt."""


def target_faults(network: nn.Module, targets: Sequence[str], rules: AdapterRules) -> list[str]:
    """What is wrong with the names: one line a name, with the nearest layer's.

    A name stands for every layer whose dotted name is it or ends in it. The nearest is one of those
    that ``all-linear`` would adapt. The network may be on the meta device.
    """
    layers = {name for name, layer in network.named_modules() if isinstance(layer, _ADAPTABLE)}
    others = {name for name, layer in network.named_modules() if name and name not in layers}
    usual = sorted(name for name in layers if not re.fullmatch(rules.outside, name))
    faults = []
    for target in targets:
        if any(_ends_in(name, target) for name in others):
            wrong = f"{target!r} isn't a layer that an adapter can sit on"
        elif not any(_ends_in(name, target) for name in layers):
            wrong = f"the network has no layer {target!r}"
        else:
            continue
        faults.append(wrong + _nearest(target, usual))
    return faults


def adapted_layers(
    network: nn.Module, targets: Sequence[str] | str | None, rules: AdapterRules
) -> list[str]:
    """The dotted names of the layers that a recipe's ``model.lora.targets`` adapts, in order."""
    names = [name for name, layer in network.named_modules() if isinstance(layer, _ADAPTABLE)]
    if targets == "all-linear":
        linear = [name for name in names if isinstance(network.get_submodule(name), nn.Linear)]
        return [name for name in linear if not re.fullmatch(rules.outside, name)]
    ends = rules.targets if targets is None else targets
    return [name for name in names if any(_ends_in(name, end) for end in ends)]


def targets_of(layers: Sequence[str]) -> tuple[str, ...]:
    """The shortest ``model.lora.targets`` for adapters of the same layers in every block.

    It leaves out of each name what comes before the end of the block's number.
    """
    return tuple(dict.fromkeys(re.sub(r"^.*?\.\d+\.", "", layer) for layer in layers))


def _ends_in(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")


def _nearest(target: str, layers: Sequence[str]) -> str:
    """Among the ends of the layers' names that say as much as the target, or a word more."""
    words = target.count(".") + 1
    parts = [name.split(".") for name in layers]
    ends = {".".join(name[-length:]) for name in parts for length in (words, words + 1)}
    longer = sorted(end for end in ends if end.startswith(f"{target}.") or end.endswith(target))
    return f" (did you mean {longer[0]!r}?)" if longer else did_you_mean(target, sorted(ends))
