from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel

from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.sd3.family import PUBLISHED_TARGETS, SD3
from marblecli.models.targets import adapted_layers, target_faults, targets_of
from marblecli.settings import LoraSettings

RULES = SD3.spec.adapters
NO_LAYER = "isn't a layer that an adapter can sit on"


@pytest.mark.parametrize(
    "targets",
    [
        PUBLISHED_TARGETS,
        ("to_q",),
        ("ff.net.2", "proj_out", "pos_embed.proj"),
        ("transformer_blocks.0.attn.to_q",),
    ],
)
def test_ends_of_layers_names_are_right(
    targets: tuple[str, ...], transformer: SD3Transformer2DModel
) -> None:
    assert target_faults(transformer, targets, RULES) == []


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("attn.to_kk", "the network has no layer 'attn.to_kk' (did you mean 'attn.to_k'?)"),
        ("q_proj", "the network has no layer 'q_proj' (did you mean 'add_q_proj'?)"),
        ("o_q", "the network has no layer 'o_q' (did you mean 'attn.to_q'?)"),
        ("zzz", "the network has no layer 'zzz'"),
        ("attn.to_out", f"'attn.to_out' {NO_LAYER} (did you mean 'attn.to_out.0'?)"),
        ("attn", f"'attn' {NO_LAYER} (did you mean 'attn.add_k_proj'?)"),
    ],
)
def test_a_wrong_name_is_told_with_the_nearest_right_one(
    target: str, fault: str, transformer: SD3Transformer2DModel
) -> None:
    (found,) = target_faults(transformer, ("attn.to_q", target), RULES)
    assert found == fault


@pytest.mark.parametrize(
    ("targets", "count", "found"),
    [
        (None, 15, "transformer_blocks.0.attn.to_add_out"),
        ("all-linear", 25, "transformer_blocks.1.ff.net.2"),
        (("ff.net.2", "proj_out"), 3, "proj_out"),
        (("transformer_blocks.0.attn.to_q",), 1, "transformer_blocks.0.attn.to_q"),
    ],
)
def test_adapted_layers_are_those_that_peft_adapts(
    targets: tuple[str, ...] | str | None,
    count: int,
    found: str,
    transformer: SD3Transformer2DModel,
) -> None:
    layers = adapted_layers(transformer, targets, RULES)
    policies = LoraPolicies(SD3, transformer, LoraSettings(targets=targets), torch.float32)
    ends = (".lora_A.weight", ".lora_B.weight")
    assert {f"{name}{end}" for name in layers for end in ends} == set(policies.trained_parameters())
    assert len(layers) == count
    assert found in layers


def test_the_shortest_targets_leave_the_blocks_out() -> None:
    layers = [f"transformer_blocks.{n}.{end}" for n in (0, 1) for end in ("attn.to_out.0", "ff.x")]
    assert targets_of([*layers, "proj_out"]) == ("attn.to_out.0", "ff.x", "proj_out")
