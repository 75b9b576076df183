"""The three policies of DiffusionNFT: trained, old (which samples) and reference (the base).

In LoRA mode they are one network: two adapters, and none. In full mode they are three copies.
"""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal

import torch
from diffusers import SD3Transformer2DModel
from diffusers.training_utils import EMAModel, cast_training_params
from peft import LoraConfig
from torch import Tensor
from torch.nn import Parameter

from marblecli.settings import LoraSettings, ModelSettings
from marblecli.train.backbone import DTYPES, Conditioning

PolicyName = Literal["trained", "old", "reference"]
_TIMESTEPS = 1000
"""SD3's transformer takes the noise level in thousandths."""


class Policies(ABC):
    """Velocities of the three policies, and the weights of two of them."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    def velocity(
        self, name: PolicyName, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The velocity of policy ``name``, [B, C, h, w] in the dtype of x_t [B, C, h, w], at t [B].

        Only the trained policy's velocity carries gradients. Ask for it last: in LoRA mode the
        other two deactivate its adapter.
        """
        with torch.set_grad_enabled(name == "trained" and torch.is_grad_enabled()):
            network = self.network(name)
            with torch.autocast(
                noised.device.type, self._dtype, enabled=self._dtype != torch.float32
            ):
                velocity: Tensor = network(
                    hidden_states=noised,
                    timestep=_TIMESTEPS * noise_level,
                    encoder_hidden_states=conditioning.context,
                    pooled_projections=conditioning.pooled,
                    return_dict=False,
                )[0]
        return velocity.to(noised.dtype)

    @abstractmethod
    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        """The network, set to run as that policy."""

    @abstractmethod
    def trained_parameters(self) -> dict[str, Parameter]:
        """The float32 parameters that the optimizer steps, by a name that both policies share."""

    @abstractmethod
    def old_parameters(self) -> dict[str, Parameter]:
        """The old policy's counterparts, by the same names."""

    @torch.no_grad()
    def blend_old(self, decay: float) -> None:
        """theta_old <- decay theta_old + (1 - decay) theta."""
        old = self.old_parameters()
        for name, parameter in self.trained_parameters().items():
            old[name].lerp_(parameter, 1.0 - decay)

    @torch.no_grad()
    def load(self, trained: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> None:
        """Take over saved weights, by the names of ``trained_parameters``."""
        for mine, theirs in ((self.trained_parameters(), trained), (self.old_parameters(), old)):
            for name, parameter in mine.items():
                parameter.copy_(theirs[name])


class LoraPolicies(Policies):
    """Two adapters in one frozen network; the reference is the network without them."""

    def __init__(
        self, transformer: SD3Transformer2DModel, settings: LoraSettings, dtype: torch.dtype
    ) -> None:
        super().__init__(dtype)
        self._transformer = transformer.requires_grad_(False).eval()
        config = LoraConfig(
            r=settings.rank,
            lora_alpha=settings.alpha,
            init_lora_weights="gaussian",
            target_modules=list(settings.targets),
        )
        with warnings.catch_warnings():
            # Two adapters in one model are what is wanted here.
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            for name in ("trained", "old"):
                transformer.add_adapter(config, adapter_name=name)
        cast_training_params(transformer, dtype=torch.float32)
        self._trained = _adapter_parameters(transformer, "trained")
        self._old = _adapter_parameters(transformer, "old")
        self.blend_old(0.0)
        self._active: PolicyName | None = None
        self.network("trained")

    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        if name != self._active:
            if name == "reference":
                self._transformer.disable_adapters()
            else:
                self._transformer.enable_adapters()
                self._transformer.set_adapter(name)
            self._active = name
        return self._transformer

    def trained_parameters(self) -> dict[str, Parameter]:
        return self._trained

    def old_parameters(self) -> dict[str, Parameter]:
        return self._old


def _adapter_parameters(transformer: SD3Transformer2DModel, adapter: str) -> dict[str, Parameter]:
    """``block.to_q.lora_A.weight`` -> the parameter of that adapter."""
    marker = f".{adapter}."
    return {
        name.replace(marker, "."): parameter
        for name, parameter in transformer.named_parameters()
        if "lora_" in name and marker in name
    }


class FullPolicies(Policies):
    """The whole network trains; old and reference are frozen copies."""

    def __init__(self, transformer: SD3Transformer2DModel, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        frozen = transformer.requires_grad_(False).eval()
        self._networks: dict[PolicyName, SD3Transformer2DModel] = {
            "reference": copy.deepcopy(frozen).to(dtype),
            "old": copy.deepcopy(frozen).float(),
            "trained": frozen.float().requires_grad_(True),
        }

    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        return self._networks[name]

    def trained_parameters(self) -> dict[str, Parameter]:
        return dict(self._networks["trained"].named_parameters())

    def old_parameters(self) -> dict[str, Parameter]:
        return dict(self._networks["old"].named_parameters())


def make_policies(transformer: SD3Transformer2DModel, settings: ModelSettings) -> Policies:
    """The policies of the recipe's mode; the transformer is taken over and changed."""
    dtype = DTYPES[settings.dtype]
    if settings.mode == "lora":
        return LoraPolicies(transformer, settings.lora, dtype)
    return FullPolicies(transformer, dtype)


@contextmanager
def averaged_weights(policies: Policies, ema: EMAModel) -> Iterator[None]:
    """Inside, the trained policy runs with its moving average."""
    parameters = list(policies.trained_parameters().values())
    ema.store(parameters)
    ema.copy_to(parameters)
    try:
        yield
    finally:
        ema.restore(parameters)
