from __future__ import annotations

import torch
from torch import nn

from marblecli.models.architectures import shipped_architecture
from marblecli.planning.subject import Subject
from marblecli.planning.weights import Weights, bytes_in_8_bits, bytes_of, weights_of
from support.planning import model_of

MEDIUM = Subject(shipped_architecture("stabilityai/stable-diffusion-3.5-medium"))


def test_parameters_and_buffers_of_a_network() -> None:
    network = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    found = weights_of(network)
    assert found.parameters == 3 * 5 + 5 + 2 * 5
    # The number of batches that were seen is a whole number.
    assert found.buffers == 2 * 5
    assert bytes_of(network, 2) == 2 * (30 + 10)


def test_rows_are_shared_parameter_by_parameter() -> None:
    weights = Weights(shapes=((5, 4), (3,), ()), buffers=7)
    assert weights.parameters == 24
    assert weights.rows(2) == 3 * 4 + 2 + 1


def test_pinned_memory_comes_in_powers_of_two() -> None:
    weights = Weights(shapes=((5, 4), (3,)), buffers=0)
    assert weights.pinned(4, 1) == 128 + 16
    assert weights.pinned(4, 2) == 64 + 8


def test_of_a_text_encoder_in_8_bits_only_the_linear_layers_are_smaller() -> None:
    t5 = MEDIUM.encoders(model_of())["text_encoder_3"]
    assert weights_of(t5).parameters == 4_762_310_656
    words, scales = 32128 * 4096, 49 * 4096 + 32 * 64
    halved = bytes_of(t5, 2) - bytes_in_8_bits(t5, 2)
    assert halved == 4_762_310_656 - words - scales


def test_a_network_on_the_meta_device_weighs_what_it_will() -> None:
    found = weights_of(MEDIUM.network())
    assert (found.parameters, found.buffers) == (2_243_171_520, 226_492_416)
    with torch.device("meta"):
        assert weights_of(nn.Linear(2, 2)) == weights_of(nn.Linear(2, 2))
