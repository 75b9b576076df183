from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from diffusers import SD3Transformer2DModel

from marblecli.errors import BadInputError
from marblecli.models.adapters import Adapters
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import PUBLISHED_TARGETS, SD3
from marblecli.settings import LoraSettings

Policymaker = Callable[..., Policies]


def test_adapters_sit_on_the_published_projections(policies_of: Policymaker) -> None:
    names = policies_of("lora").trained_parameters()
    adapted = {name.split(".lora_")[0].split(".", 2)[2] for name in names}
    assert adapted == set(PUBLISHED_TARGETS)


def test_all_linear_is_attention_and_feed_forward_of_both_streams(
    transformer: SD3Transformer2DModel,
) -> None:
    policies = LoraPolicies(SD3, transformer, LoraSettings(targets="all-linear"), torch.float32)
    names = policies.trained_parameters()
    adapted = {name.split(".lora_")[0].split(".", 2)[2] for name in names}
    second = {
        target.replace("attn.", "attn2.") for target in PUBLISHED_TARGETS if "add_" not in target
    }
    feed_forward = {f"{ff}.net.{part}" for ff in ("ff", "ff_context") for part in ("0.proj", "2")}
    assert adapted == {*PUBLISHED_TARGETS, *second, *feed_forward}
    assert all(name.startswith("transformer_blocks.") for name in names)
    assert policies.old_parameters().keys() == names.keys()


@pytest.fixture
def adapters(transformer: SD3Transformer2DModel) -> Adapters:
    network = transformer.requires_grad_(False).bfloat16()
    return Adapters(network, LoraSettings(rank=2, alpha=4), SD3.spec.adapters, ("one", "two"))


def test_adapters_are_drawn_in_float32_with_nothing_to_say(adapters: Adapters) -> None:
    one, two = adapters.parameters("one"), adapters.parameters("two")
    assert one.keys() == two.keys()
    for name, parameter in one.items():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert bool(parameter.any()) == ("lora_A" in name)
        assert parameter is not two[name]


def test_one_or_none_is_active(adapters: Adapters, transformer: SD3Transformer2DModel) -> None:
    layer = transformer.transformer_blocks[0].attn.to_q

    def active() -> list[str]:
        return [] if layer.disable_adapters else list(layer.active_adapters)

    adapters.activate("one")
    assert active() == ["one"]
    adapters.deactivate()
    adapters.deactivate()
    assert active() == []
    adapters.activate("two")
    assert active() == ["two"]
    adapters.activate("one")
    assert active() == ["one"]


def test_layers_that_arent_there_are_refused_by_name(transformer: SD3Transformer2DModel) -> None:
    settings = LoraSettings(targets=("attn.to_q", "attn.to_kk", "q_proj"))
    with pytest.raises(BadInputError) as caught:
        LoraPolicies(SD3, transformer, settings, torch.float32)
    assert str(caught.value).splitlines() == [
        "model.lora.targets: the network has no layer 'attn.to_kk' (did you mean 'attn.to_k'?)",
        "model.lora.targets: the network has no layer 'q_proj' (did you mean 'add_q_proj'?)",
    ]
