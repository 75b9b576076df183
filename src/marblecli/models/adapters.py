"""Adapters of a network's layers, by peft: the only module that knows it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import torch
from diffusers.training_utils import cast_training_params
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn
from torch.nn import Parameter

from marblecli.errors import BadInputError
from marblecli.models.family import AdapterRules
from marblecli.models.targets import target_faults
from marblecli.settings import LoraSettings


class Adapters:
    """Several adapters in one frozen network, of which one or none is active.

    Every adapter is drawn from torch's global generator: Gaussian A and zero B, in float32.

    Raises:
        BadInputError: the recipe names layers that the network doesn't have.

    """

    def __init__(
        self,
        network: nn.Module,
        settings: LoraSettings,
        rules: AdapterRules,
        names: Sequence[str],
    ) -> None:
        self._network = network
        config = _lora_config(network, settings, rules)
        with warnings.catch_warnings():
            # Several adapters in one network are what is wanted here.
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            for name in names:
                inject_adapter_in_model(config, network, name)
        self.layers = [layer for layer in network.modules() if isinstance(layer, BaseTunerLayer)]
        """The layers that are adapted."""
        for layer in self.layers:
            layer.set_adapter(list(names))
        cast_training_params(network, dtype=torch.float32)
        self._active: str | None = None
        self._enabled = True

    def leave_inputs_to_autocast(self) -> None:
        """Autocast rounds the inputs itself, without a float32 copy of each in between."""
        for layer in self.layers:
            layer.cast_input_dtype_enabled = False

    def activate(self, name: str) -> None:
        """Have the network run with one adapter."""
        if self._enabled and self._active == name:
            return
        for layer in self.layers:
            if not self._enabled:
                layer.enable_adapters(True)
            layer.set_adapter(name)
        self._active, self._enabled = name, True

    def deactivate(self) -> None:
        """Have the network run without adapters."""
        if not self._enabled:
            return
        for layer in self.layers:
            layer.enable_adapters(False)
        self._enabled = False

    def parameters(self, adapter: str) -> dict[str, Parameter]:
        """``block.to_q.lora_A.weight`` -> the parameter of that adapter."""
        marker = f".{adapter}."
        return {
            name.replace(marker, "."): parameter
            for name, parameter in self._network.named_parameters()
            if "lora_" in name and marker in name
        }


def _lora_config(network: nn.Module, settings: LoraSettings, rules: AdapterRules) -> LoraConfig:
    targets = rules.targets if settings.targets is None else settings.targets
    everything = targets == "all-linear"
    # The family's own are for all of its networks, of which a small one may lack some.
    if not everything and targets != rules.targets:
        faults = target_faults(network, targets, rules)
        if faults:
            raise BadInputError("\n".join(f"model.lora.targets: {fault}" for fault in faults))
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        init_lora_weights="gaussian",
        use_dora=settings.dora,
        target_modules="all-linear" if everything else list(targets),
        # To peft, all linear layers are those of the embedders and of the output as well.
        exclude_modules=rules.outside if everything else None,
    )
