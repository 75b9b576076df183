from __future__ import annotations

from functools import partial

import pytest

from marblecli.models.architectures import shipped_architecture
from marblecli.models.random import empty_part
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.parts import DRAWN, build_part

MEDIUM = shipped_architecture("stabilityai/stable-diffusion-3.5-medium")


@pytest.mark.parametrize(
    ("part", "class_name", "millions"),
    [
        ("transformer", "SD3Transformer2DModel", 2243),
        ("vae", "AutoencoderKL", 84),
        ("text_encoder", "CLIPTextModelWithProjection", 124),
        ("text_encoder_2", "CLIPTextModelWithProjection", 695),
        ("text_encoder_3", "T5EncoderModel", 4762),
    ],
)
def test_each_part_is_its_class_with_the_published_size(
    part: str, class_name: str, millions: int
) -> None:
    built = empty_part(partial(build_part, part, MEDIUM.parts[part]))
    assert type(built).__name__ == class_name
    count = sum(parameter.numel() for parameter in built.parameters())
    assert round(count / 1e6) == millions
    assert {parameter.device.type for parameter in built.parameters()} == {"meta"}


def test_all_parts_with_weights_are_drawn() -> None:
    assert set(DRAWN) == SD3.spec.parts.keys() - {"scheduler"}
