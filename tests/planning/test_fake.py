from __future__ import annotations

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from marblecli.planning.fake import AlikeTensors, FakeShards, faked, replace_weights


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(2, 2), nn.Linear(2, 2)
        self.two.weight = self.one.weight
        self.register_buffer("places", torch.zeros(3, dtype=torch.int64))
        self.register_buffer("nothing", None)
        self.by_name = {"weight": self.one.weight}


def on_meta() -> Tied:
    with torch.device("meta"):
        network = Tied()
    network.one.bias.requires_grad_(False)
    return network


def test_a_copy_has_fake_weights_wherever_it_refers_to_them() -> None:
    network, mode = on_meta(), FakeTensorMode()
    copy = faked(mode, network, network, dtype=torch.bfloat16)
    weight = copy.one.weight
    assert isinstance(weight, FakeTensor)
    assert weight.device.type == "cpu"
    assert weight.dtype == torch.bfloat16
    assert copy.by_name["weight"] is weight is copy.two.weight
    assert isinstance(weight, nn.Parameter)
    assert weight.requires_grad
    assert not copy.one.bias.requires_grad
    # Whole numbers stay such.
    assert copy.places.dtype == torch.int64
    assert network.one.weight.is_meta
    with mode:
        assert copy.one(torch.zeros(5, 2, dtype=torch.bfloat16)).shape == (5, 2)


def test_weights_are_replaced_in_place_and_stay_tied() -> None:
    network = on_meta()
    replace_weights(FakeTensorMode(), network)
    assert isinstance(network.one.weight, FakeTensor)
    assert network.two.weight is network.one.weight
    assert network.nothing is None


def test_fake_tensors_are_alike_to_whoever_asks() -> None:
    with FakeTensorMode(), AlikeTensors():
        assert torch.equal(torch.zeros(2), torch.ones(2))
    assert not torch.equal(torch.zeros(2), torch.ones(2))


def test_fake_shards_know_whom_they_are_shared_among() -> None:
    assert not FakeShards().sharded
    assert FakeShards(offloaded=True).sharded
