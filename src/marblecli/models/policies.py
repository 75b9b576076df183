"""The three policies of DiffusionNFT: trained, old (which samples) and reference (the base).

In LoRA mode they are one network: two adapters, and none. In full mode they are three copies.
"""

from __future__ import annotations

import copy
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from diffusers import SD3Transformer2DModel
from diffusers.training_utils import EMAModel, cast_training_params
from peft import LoraConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor
from torch.nn import Parameter

from marblecli.engine.checkpointing import BlockCheckpoints
from marblecli.engine.shards import UNDIVIDED, Shards, forget_pass, local_parameters, local_rows
from marblecli.models.backbone import DTYPES, Conditioning
from marblecli.settings import LoraSettings, ModelSettings

PolicyName = Literal["trained", "old", "reference"]
_TIMESTEPS = 1000
"""SD3's transformer takes the noise level in thousandths."""
_BLOCKS = ["JointTransformerBlock"]
_GRAPHS = 64
"""Compiled at most: kinds of block times policies times shapes, with room to spare."""
_OUTSIDE = r"(?!transformer_blocks\.).*|.*\.norm\d\w*\..*"
"""Linear layers that aren't projections or feed-forward."""


class Policies(ABC):
    """Velocities of the three policies, and the weights of two of them."""

    checkpoints: BlockCheckpoints | None = None
    """Of the trained network's blocks, where only their inputs are kept for the backward passes."""

    def __init__(self, dtype: torch.dtype, shards: Shards = UNDIVIDED) -> None:
        self.shards = shards
        """Which rows of the trained parameters are here."""
        self._dtype = dtype
        self._compiled = False
        self._shared_versions: list[int] | None = None

    def velocity(
        self, name: PolicyName, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The velocity of policy ``name``, [B, C, h, w] in the dtype of x_t [B, C, h, w], at t [B].

        Only the trained policy's velocity carries gradients. Ask for it last: in LoRA mode the
        other two deactivate its adapter.
        """
        graded = name == "trained" and torch.is_grad_enabled()
        with torch.set_grad_enabled(graded), self._eager(wanted=graded):
            network = self.network(name)
            with torch.autocast(
                noised.device.type,
                self._dtype,
                enabled=self._dtype != torch.float32,
                # It would keep what a divided network lets go of.
                cache_enabled=not self.shards.divided,
            ):
                velocity: Tensor = network(
                    hidden_states=noised,
                    timestep=_TIMESTEPS * noise_level,
                    encoder_hidden_states=conditioning.context,
                    pooled_projections=conditioning.pooled,
                    return_dict=False,
                )[0]
        return velocity.to(noised.dtype)

    def checkpoint_blocks(self) -> None:
        """Keep only the blocks' inputs of a forward pass that carries gradients."""
        network = self.network("trained")
        self.checkpoints = BlockCheckpoints(network, self.shards)
        network.enable_gradient_checkpointing(self.checkpoints)

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile the blocks for passes without gradients: sampling, old and reference policy.

        Blocks of one kind share a graph, and changing adapters changes between graphs that are
        there: three kinds of block, three policies and two shapes make eighteen in SD3.5 Medium
        (inductor makes the second shape's dynamic). The pass that carries gradients runs as
        written: a compiled one can't be gone through backwards twice, nor be contracted.
        """
        # Not before it is wanted: it takes long to import.
        import torch._dynamo as dynamo

        dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _GRAPHS)
        for network in self._networks_to_compile():
            network._repeated_blocks = _BLOCKS
            # A graph that breaks, or too many of them, is an error then: never a silent way round.
            network.compile_repeated_blocks(fullgraph=True, backend=backend)
        self._compiled = True

    def _eager(self, *, wanted: bool) -> AbstractContextManager[object]:
        if self._compiled and wanted:
            return torch.compiler.set_stance("force_eager")
        return nullcontext()

    @property
    def old_is_trained(self) -> bool:
        """Whether the old policy's weights are known to be the trained ones, bit for bit.

        So after ``blend_old(0.0)`` and ``load``, until the next ``blend_old`` or anything else
        that torch sees changing them in place.
        """
        return self._shared_versions is not None and self._shared_versions == self._versions()

    def _versions(self) -> list[int]:
        both = (self.trained_parameters(), self.old_parameters())
        return [parameter._version for part in both for parameter in part.values()]

    @contextmanager
    def apart(self) -> Iterator[None]:
        """Inside, the trained weights are replaced by others in a way that torch doesn't see."""
        kept, self._shared_versions = self._shared_versions, None
        try:
            yield
        finally:
            self._shared_versions = kept

    @abstractmethod
    def _networks_to_compile(self) -> list[SD3Transformer2DModel]:
        """Those that run without gradients."""

    @abstractmethod
    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        """The network, set to run as that policy."""

    @abstractmethod
    def trained_parameters(self) -> dict[str, Parameter]:
        """The float32 parameters that the optimizer steps, by a name that both policies share."""

    @abstractmethod
    def old_parameters(self) -> dict[str, Parameter]:
        """The old policy's counterparts, by the same names."""

    def layer_parameters(self) -> list[Parameter]:
        """The trained parameters, in the same order, as the network's layers have them."""
        return list(self.trained_parameters().values())

    @abstractmethod
    def settle_gradients(self) -> None:
        """After plain backward passes: have their sum in ``.grad`` of the trained parameters."""

    @torch.no_grad()
    def blend_old(self, decay: float) -> None:
        """theta_old <- decay theta_old + (1 - decay) theta."""
        old = self.old_parameters()
        for name, parameter in self.trained_parameters().items():
            old[name].lerp_(parameter, 1.0 - decay)
        self._shared_versions = self._versions() if decay == 0.0 else None

    @torch.no_grad()
    def load(self, trained: Mapping[str, Tensor], old: Mapping[str, Tensor]) -> None:
        """Take over saved weights, by the names of ``trained_parameters``."""
        for mine, theirs in ((self.trained_parameters(), trained), (self.old_parameters(), old)):
            for name, parameter in mine.items():
                parameter.copy_(self.shards.cut(theirs[name]))
        # Of the whole: all processes must come to the same answer.
        shared = all(torch.equal(theirs, old[name]) for name, theirs in trained.items())
        self._shared_versions = self._versions() if shared else None


class LoraPolicies(Policies):
    """Two adapters in one frozen network; the reference is the network without them."""

    def __init__(
        self, transformer: SD3Transformer2DModel, settings: LoraSettings, dtype: torch.dtype
    ) -> None:
        super().__init__(dtype)
        self._transformer = transformer.requires_grad_(False).eval()
        config = _lora_config(settings)
        with warnings.catch_warnings():
            # Two adapters in one model are what is wanted here.
            warnings.filterwarnings("ignore", message="Already found a `peft_config` attribute")
            for name in ("trained", "old"):
                transformer.add_adapter(config, adapter_name=name)
        transformer.set_adapter(["trained", "old"])
        cast_training_params(transformer, dtype=torch.float32)
        self._layers = [part for part in transformer.modules() if isinstance(part, BaseTunerLayer)]
        if dtype != torch.float32 and not settings.dora:
            # Autocast does it, without a float32 copy of every input in between.
            for layer in self._layers:
                layer.cast_input_dtype_enabled = False
        self._trained = _adapter_parameters(transformer, "trained")
        self._old = _adapter_parameters(transformer, "old")
        self.blend_old(0.0)
        self._active: PolicyName | None = None
        self.network("trained")

    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        if name != self._active:
            for layer in self._layers:
                if name == "reference":
                    layer.enable_adapters(False)
                    continue
                if self._active == "reference":
                    layer.enable_adapters(True)
                layer.set_adapter(name)
            self._active = name
        return self._transformer

    def settle_gradients(self) -> None:
        """They are there."""

    def _networks_to_compile(self) -> list[SD3Transformer2DModel]:
        return [self._transformer]

    def trained_parameters(self) -> dict[str, Parameter]:
        return self._trained

    def old_parameters(self) -> dict[str, Parameter]:
        return self._old


def _lora_config(settings: LoraSettings) -> LoraConfig:
    everything = settings.targets == "all-linear"
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        init_lora_weights="gaussian",
        use_dora=settings.dora,
        target_modules="all-linear" if everything else list(settings.targets),
        # To peft, all linear layers are also the modulations, the embedders and the output.
        exclude_modules=_OUTSIDE if everything else None,
    )


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

    def __init__(
        self,
        transformer: SD3Transformer2DModel,
        dtype: torch.dtype,
        shards: Shards = UNDIVIDED,
    ) -> None:
        super().__init__(dtype, shards)
        frozen = transformer.requires_grad_(False).eval()
        # One after the other: a divided one leaves room for the next.
        self._networks: dict[PolicyName, SD3Transformer2DModel] = {
            "reference": self._placed(copy.deepcopy(frozen).to(dtype)),
            "old": self._placed(copy.deepcopy(frozen).float()),
            "trained": self._placed(frozen.float().requires_grad_(True)),
        }
        self._trained = self._parameters_of(self._networks["trained"])
        self._old = self._parameters_of(self._networks["old"])
        self._shared_versions = self._versions()

    def _placed(self, network: SD3Transformer2DModel) -> SD3Transformer2DModel:
        return network

    def _parameters_of(self, network: SD3Transformer2DModel) -> dict[str, Parameter]:
        return dict(network.named_parameters())

    def network(self, name: PolicyName) -> SD3Transformer2DModel:
        return self._networks[name]

    def settle_gradients(self) -> None:
        """They are there."""

    def _networks_to_compile(self) -> list[SD3Transformer2DModel]:
        return list(self._networks.values())

    def trained_parameters(self) -> dict[str, Parameter]:
        return self._trained

    def old_parameters(self) -> dict[str, Parameter]:
        return self._old


class ShardedPolicies(FullPolicies):
    """The same, with every weight of the three divided among the processes, or offloaded.

    The parameters are this process's rows; the transformer that is given need not be on the device.
    """

    def _placed(self, network: SD3Transformer2DModel) -> SD3Transformer2DModel:
        self.shards.divide(network)
        return network

    def _parameters_of(self, network: SD3Transformer2DModel) -> dict[str, Parameter]:
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
        """They are sums over the processes."""
        for name, whole in self._networks["trained"].named_parameters():
            if whole.grad is not None:
                self._trained[name].grad = local_rows(whole.grad)
                whole.grad = None


def make_policies(
    transformer: SD3Transformer2DModel, settings: ModelSettings, shards: Shards = UNDIVIDED
) -> Policies:
    """The policies of the recipe's mode; the transformer is taken over and changed.

    ``shards`` says how full mode is divided among processes.
    """
    dtype = DTYPES[settings.dtype]
    policies: Policies
    if settings.mode == "lora":
        policies = LoraPolicies(transformer, settings.lora, dtype)
    elif shards.divided:
        policies = ShardedPolicies(transformer, dtype, shards)
    else:
        policies = FullPolicies(transformer, dtype)
    if settings.gradient_checkpointing:
        policies.checkpoint_blocks()
    if settings.compile:
        policies.compile_blocks()
    return policies


@contextmanager
def averaged_weights(policies: Policies, ema: EMAModel) -> Iterator[None]:
    """Inside, the trained policy runs with its moving average."""
    parameters = list(policies.trained_parameters().values())
    ema.store(parameters)
    ema.copy_to(parameters)
    try:
        with policies.apart():
            yield
    finally:
        ema.restore(parameters)
