"""On whole pipelines it is held by tests/models/sd3/test_random_parts.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import T5Config, T5EncoderModel

from marblecli.models.random import drawn_part, empty_part, unset_part


class Small(nn.Module):
    """A matrix, a kernel, a norm, and a buffer that isn't drawn."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(64, 32)
        self.kernel = nn.Conv2d(4, 8, 3)
        self.norm = nn.LayerNorm(32)
        self.register_buffer("places", torch.arange(5.0))


def drawn(seed: int, dtype: torch.dtype = torch.float32) -> Small:
    part = drawn_part(Small, dtype, torch.Generator().manual_seed(seed))
    assert isinstance(part, Small)
    return part


def test_an_empty_part_has_names_and_shapes_but_no_weights() -> None:
    empty, real = empty_part(Small), Small()
    assert {n: p.shape for n, p in empty.named_parameters()} == {
        n: p.shape for n, p in real.named_parameters()
    }
    assert {p.device.type for p in empty.parameters()} == {"meta"}
    assert torch.equal(empty.get_buffer("places"), torch.arange(5.0))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_matrices_are_drawn_and_the_rest_is_constant(dtype: torch.dtype) -> None:
    part = drawn(0, dtype)
    assert {value.dtype for value in part.state_dict().values()} == {dtype}
    assert part.linear.weight.float().std() == pytest.approx(64**-0.5, rel=0.1)
    assert part.kernel.weight.float().std() == pytest.approx(36**-0.5, rel=0.2)
    assert not part.linear.bias.any()
    assert (part.norm.weight == 1).all()
    assert torch.equal(part.places.float(), torch.arange(5.0))
    assert not part.training
    assert not any(parameter.requires_grad for parameter in part.parameters())


def test_the_generator_decides_every_bit() -> None:
    first, again, other = drawn(3), drawn(3), drawn(4)
    assert torch.equal(first.linear.weight, again.linear.weight)
    assert not torch.equal(first.linear.weight, other.linear.weight)


def test_an_unset_part_is_frozen_and_in_its_dtype() -> None:
    part = unset_part(Small, torch.bfloat16)
    assert {value.dtype for value in part.state_dict().values()} == {torch.bfloat16}
    assert not any(parameter.requires_grad for parameter in part.parameters())
    assert not part.training


def test_tied_weights_stay_tied() -> None:
    config = T5Config(vocab_size=9, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    part = drawn_part(lambda: T5EncoderModel(config), torch.float32, torch.Generator())
    assert part.shared.weight is part.encoder.embed_tokens.weight
