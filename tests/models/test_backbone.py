from __future__ import annotations

from pathlib import Path

import pytest
import torch

from marblecli.models.backbone import Backbone
from marblecli.settings import ModelSettings
from support.models import FakePipeline, load_sd3

TEXTS = ("a red square on black", "a blue circle on white", 'the text "EH" in blue on black')


@pytest.fixture
def backbone(tiny_folder: Path) -> Backbone:
    settings = ModelSettings(pretrained=str(tiny_folder), dtype="fp32", max_sequence_length=1)
    return Backbone(load_sd3(settings))


def test_images_are_square(backbone: Backbone) -> None:
    assert backbone.latent_shape(32) == (8, 8, 8)
    assert len(backbone.solver(5, backbone.latent_shape(32)).levels) == 6


def test_embedded_texts_and_encoded_ones_are_the_same(backbone: Backbone) -> None:
    backbone.embed(TEXTS)
    embedded, encoded = backbone.conditioning(TEXTS), backbone.encode(TEXTS)
    assert embedded.tensors.keys() == encoded.tensors.keys()
    for name, part in embedded.tensors.items():
        torch.testing.assert_close(part, encoded.tensors[name])


def test_nothing_carries_gradients(backbone: Backbone) -> None:
    assert not any(part.requires_grad for part in backbone.encode(TEXTS).tensors.values())
    latents = torch.zeros(1, 8, 4, 4, requires_grad=True)
    assert not backbone.decode(latents).requires_grad


def test_it_is_where_images_are_decoded() -> None:
    assert Backbone(FakePipeline("meta").frozen()).device == torch.device("meta")
