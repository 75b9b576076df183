"""The map is held against diffusers' own conversion of the published network's files."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from diffusers import SD3Transformer2DModel

from marblecli.models.architectures import shipped_architecture
from marblecli.models.random import empty_part
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.native import native_layers
from support.published import converted, published_weights


def test_diffusers_converts_the_published_layers_back(transformer: SD3Transformer2DModel) -> None:
    weights, config = transformer.state_dict(), transformer.config
    found = converted(published_weights(weights, native_layers(config)), config)
    for layer in native_layers(config):
        assert torch.equal(found[f"{layer}.weight"], weights[f"{layer}.weight"]), layer


@pytest.mark.parametrize("hub_id", SD3.spec.shipped)
def test_every_layer_with_parameters_is_mapped(hub_id: str) -> None:
    config = shipped_architecture(hub_id).parts["transformer"]
    network = empty_part(partial(SD3.build, "transformer", config))
    layers = {name.rpartition(".")[0] for name, _ in network.named_parameters()}
    native = SD3.native_layers(config)
    assert native.keys() == layers
    for layer, place in native.items():
        assert len(network.get_parameter(f"{layer}.weight")) % (2 if place.swapped else 1) == 0
    pieces = [(place.name, place.piece) for place in native.values()]
    assert len(set(pieces)) == len(pieces)
