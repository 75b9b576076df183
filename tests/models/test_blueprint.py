from __future__ import annotations

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from marblecli.models.architectures import folder_architecture
from marblecli.models.blueprint import ENCODERS, assemble, build_part
from support.planning import TINY, model_of

PARTS = folder_architecture(TINY).parts


@pytest.mark.parametrize("part", ["transformer", "vae", *ENCODERS])
def test_a_part_is_built_as_it_is_loaded(part: str) -> None:
    with torch.device("meta"):
        built = build_part(part, PARTS[part])
    loaded = getattr(StableDiffusion3Pipeline.from_pretrained(TINY), part)
    assert type(built) is type(loaded)
    shapes = [{name: p.shape for name, p in each.named_parameters()} for each in (built, loaded)]
    assert shapes[0] == shapes[1]


def test_assembled_parts_encode_and_decode() -> None:
    parts = {
        part: build_part(part, PARTS[part]).eval() for part in ("transformer", "vae", *ENCODERS)
    }
    backbone = assemble(parts, model_of(dtype="fp32"))
    assert backbone.encode(["a red square", "b"]).context.shape == (2, 20, 128)
    assert backbone.decode(torch.randn(2, 8, 8, 8)).shape == (2, 3, 32, 32)
