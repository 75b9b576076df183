"""The whole trained network: the base with the run's weights in it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marblecli.export.subject import Subject


@torch.no_grad()
def network_of(subject: Subject, base: nn.Module) -> nn.Module:
    """The base's network with the run's weights, in the subject's dtype; ``base`` is taken over.

    In LoRA mode each adapted weight is summed in float64 and rounded once.
    """
    network = base.float().requires_grad_(False)
    for name, weight in changed_weights(subject).items():
        network.get_parameter(name).copy_(weight)
    return network.to(subject.dtype)


def changed_weights(subject: Subject) -> dict[str, Tensor]:
    """The weights that the run changed, by name: float32 or float64, not rounded."""
    if subject.adapter is None:
        return dict(subject.weights)
    return {
        f"{layer}.weight": subject.base_weight(layer).double() + subject.change(layer)
        for layer in subject.adapter.layers
    }
