"""Sharded policies are held against these by tests/engine/test_shards.py."""

from __future__ import annotations

import torch
from diffusers import SD3Transformer2DModel

from marblecli.models.full_policies import FullPolicies
from marblecli.models.sd3.family import SD3


def test_the_networks_are_three_with_the_same_weights(
    transformer: SD3Transformer2DModel,
) -> None:
    policies = FullPolicies(SD3, transformer, torch.bfloat16)
    trained, old, reference = (policies.network(n) for n in ("trained", "old", "reference"))
    assert len({id(network) for network in (trained, old, reference)}) == 3
    assert {p.dtype for p in trained.parameters()} == {torch.float32}
    assert {p.dtype for p in old.parameters()} == {torch.float32}
    assert {p.dtype for p in reference.parameters()} == {torch.bfloat16}
    assert all(p.requires_grad for p in trained.parameters())
    assert not any(p.requires_grad for net in (old, reference) for p in net.parameters())
    for name, parameter in policies.trained_parameters().items():
        assert torch.equal(parameter, policies.old_parameters()[name])
        assert torch.equal(parameter.bfloat16(), dict(reference.named_parameters())[name])
