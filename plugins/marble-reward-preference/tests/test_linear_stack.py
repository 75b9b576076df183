from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from marble_reward_preference.linear_stack import linear_stack, load_stack
from marblecli.errors import MarbleError


def test_its_layers_have_the_published_numbers_and_sizes() -> None:
    shapes = {name: tuple(w.shape) for name, w in linear_stack(768).state_dict().items()}
    assert shapes == {
        "0.weight": (1024, 768),
        "0.bias": (1024,),
        "2.weight": (128, 1024),
        "2.bias": (128,),
        "4.weight": (64, 128),
        "4.bias": (64,),
        "6.weight": (16, 64),
        "6.bias": (16,),
        "7.weight": (1, 16),
        "7.bias": (1,),
    }


def test_it_is_affine() -> None:
    stack = linear_stack(8).eval()
    x, y = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(stack((x + y) / 2), (stack(x) + stack(y)) / 2)


def test_a_path_through_it_by_hand() -> None:
    stack = linear_stack(2).eval()
    for layer in stack:
        if isinstance(layer, nn.Linear):
            nn.init.zeros_(layer.weight)
            nn.init.ones_(layer.bias)
            layer.weight.data[0, 0] = 2.0
    # Five times x -> 2 x + 1: 3, 7, 15, 31, 63, 127.
    assert stack(torch.tensor([[3.0, 7.0]])).item() == 127.0


def test_loaded_it_scores_and_touches_no_random_state() -> None:
    source = linear_stack(8)
    before = torch.get_rng_state()
    loaded = load_stack(Path("head.pth"), source.state_dict(), 8)
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.ones(3, 8)
    torch.testing.assert_close(loaded(x), source.eval()(x))
    assert not loaded(x).requires_grad


def test_a_half_precision_file_is_widened() -> None:
    loaded = load_stack(Path("head.pth"), linear_stack(8).half().state_dict(), 8)
    assert {weight.dtype for weight in loaded.parameters()} == {torch.float32}


@pytest.mark.parametrize("fault", ["width", "missing", "extra"])
def test_weights_that_do_not_fit_are_named(fault: str) -> None:
    weights = dict(linear_stack(9 if fault == "width" else 8).state_dict())
    if fault == "missing":
        del weights["4.bias"]
    if fault == "extra":
        weights["9.bias"] = torch.zeros(1)
    with pytest.raises(MarbleError, match=r"head\.pth doesn't hold the linear stack") as caught:
        load_stack(Path("head.pth"), weights, 8)
    assert "\n" not in str(caught.value)
