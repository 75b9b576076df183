"""The three policies as one frozen network: with the trained adapter, the old one, or none."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import Parameter

from marblecli.models.adapters import Adapters
from marblecli.models.family import Family
from marblecli.models.policies import Policies, PolicyName
from marblecli.settings import LoraSettings


class LoraPolicies(Policies):
    """Two adapters in one frozen network; the reference is the network without them.

    Without ``old`` there is the trained adapter only. The network is taken over and changed.

    Raises BadInputError if the settings name layers that it
    doesn't have.
    """

    def __init__(
        self,
        family: Family,
        network: nn.Module,
        settings: LoraSettings,
        dtype: torch.dtype,
        *,
        old: bool = True,
    ) -> None:
        super().__init__(family, dtype)
        self._network = network.requires_grad_(False).eval()
        rules = family.spec.adapters
        names = ("trained", "old") if old else ("trained",)
        self.adapters = Adapters(self._network, settings, rules, names)
        if dtype != torch.float32 and not settings.dora:
            self.adapters.leave_inputs_to_autocast()
        self._trained = self.adapters.parameters("trained")
        self._old = self.adapters.parameters("old") if old else {}
        if old:
            self.blend_old(0.0)
        self.network("trained")

    def network(self, name: PolicyName) -> nn.Module:
        if name == "reference":
            self.adapters.deactivate()
        else:
            self.adapters.activate(name)
        return self._network

    def settle_gradients(self) -> None:
        """Nothing to do: ``.grad`` already holds the sum."""

    def _networks_to_compile(self) -> list[nn.Module]:
        return [self._network]

    def trained_parameters(self) -> dict[str, Parameter]:
        return self._trained

    def old_parameters(self) -> dict[str, Parameter]:
        return self._old
