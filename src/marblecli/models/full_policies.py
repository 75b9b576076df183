"""The three policies as three copies of the network, all of whose weights train."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from marblecli.engine.shards import UNSHARDED, Shards, forget_pass, local_parameters, local_rows
from marblecli.models.conditioning import Conditioning
from marblecli.models.family import Family
from marblecli.models.policies import Policies, PolicyName


class FullPolicies(Policies):
    """The whole network trains; old and reference are frozen copies.

    Without ``old`` there is no copy for the old policy. The network is taken over and changed.
    """

    def __init__(
        self,
        family: Family,
        network: nn.Module,
        dtype: torch.dtype,
        shards: Shards = UNSHARDED,
        *,
        old: bool = True,
    ) -> None:
        super().__init__(family, dtype, shards)
        frozen = network.requires_grad_(False).eval()
        # One after the other: once a copy is sharded, there is room for the next.
        self._networks: dict[PolicyName, nn.Module] = {
            "reference": self._placed(copy.deepcopy(frozen).to(dtype))
        }
        if old:
            self._networks["old"] = self._placed(copy.deepcopy(frozen).float())
        self._networks["trained"] = self._placed(frozen.float().requires_grad_(True))
        self._trained = self._parameters_of(self._networks["trained"])
        self._old = self._parameters_of(self._networks["old"]) if old else {}
        self._shared_versions = self._versions() if old else None

    def _placed(self, network: nn.Module) -> nn.Module:
        return network

    def _parameters_of(self, network: nn.Module) -> dict[str, Parameter]:
        return dict(network.named_parameters())

    def network(self, name: PolicyName) -> nn.Module:
        return self._networks[name]

    def settle_gradients(self) -> None:
        """Nothing to do: ``.grad`` already holds the sum."""

    def _networks_to_compile(self) -> list[nn.Module]:
        return list(self._networks.values())

    def trained_parameters(self) -> dict[str, Parameter]:
        return self._trained

    def old_parameters(self) -> dict[str, Parameter]:
        return self._old


class ShardedPolicies(FullPolicies):
    """The same, with every weight of the three sharded among the processes, or offloaded.

    The parameters are this process's rows. The network that is given need not be on the device.
    """

    def _placed(self, network: nn.Module) -> nn.Module:
        self.shards.shard(network, self.family.blocks(network))
        return network

    def _parameters_of(self, network: nn.Module) -> dict[str, Parameter]:
        return local_parameters(network)

    def velocity(
        self, name: PolicyName, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        velocity = super().velocity(name, noised, noise_level, conditioning)
        if not velocity.requires_grad:
            forget_pass(self._networks[name])
        return velocity

    def layer_parameters(self) -> list[Parameter]:
        return list(self._networks["trained"].parameters())

    def settle_gradients(self) -> None:
        """Take this process's rows of the layers' gradients, which are sums over the processes."""
        for name, whole in self._networks["trained"].named_parameters():
            if whole.grad is not None:
                self._trained[name].grad = local_rows(whole.grad)
                whole.grad = None
