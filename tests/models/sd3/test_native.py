"""The map is held against diffusers' own conversion of the published network's files."""

from __future__ import annotations

import torch
from diffusers import SD3Transformer2DModel

from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.native import native_layers
from support.published import converted, published_weights


def test_diffusers_converts_the_published_layers_back(transformer: SD3Transformer2DModel) -> None:
    weights, config = transformer.state_dict(), transformer.config
    found = converted(published_weights(weights, native_layers(config)), config)
    for layer in native_layers(config):
        assert torch.equal(found[f"{layer}.weight"], weights[f"{layer}.weight"]), layer


def test_every_linear_layer_is_mapped(transformer: SD3Transformer2DModel) -> None:
    mapped = SD3.native_layers(transformer.config).keys()
    linear = {n for n, part in transformer.named_modules() if isinstance(part, torch.nn.Linear)}
    assert linear <= mapped
    assert mapped <= {name for name, _ in transformer.named_modules()}
