"""The policies of the recipe's mode."""

from __future__ import annotations

from torch import nn

from marblecli.engine.shards import UNSHARDED, Shards
from marblecli.models.dtypes import DTYPES
from marblecli.models.family import Family
from marblecli.models.full_policies import FullPolicies, ShardedPolicies
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies
from marblecli.settings import ModelSettings


def make_policies(
    family: Family,
    network: nn.Module,
    settings: ModelSettings,
    shards: Shards = UNSHARDED,
    *,
    old: bool = True,
) -> Policies:
    """The three policies; the network is taken over and changed.

    ``shards`` says how the weights of full mode are sharded among processes. Without ``old`` there
    are the trained and the reference policy only, which is what evaluations need.

    Raises BadInputError if ``model.lora.targets`` names layers that the network doesn't have.
    """
    dtype = DTYPES[settings.dtype]
    policies: Policies
    if settings.mode == "lora":
        policies = LoraPolicies(family, network, settings.lora, dtype, old=old)
    elif shards.sharded:
        policies = ShardedPolicies(family, network, dtype, shards, old=old)
    else:
        policies = FullPolicies(family, network, dtype, old=old)
    if settings.gradient_checkpointing:
        policies.checkpoint_blocks()
    if settings.compile:
        policies.compile_blocks()
    return policies
