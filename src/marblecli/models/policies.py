"""The three policies of DiffusionNFT: trained, old (which samples) and reference (the base).

In LoRA mode they are one network: two adapters, and none
(:mod:`marblecli.models.lora_policies`). In full mode they are three copies
(:mod:`marblecli.models.full_policies`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from marblecli.engine.checkpointing import BlockCheckpoints
from marblecli.engine.shards import UNSHARDED, Shards
from marblecli.models.conditioning import Conditioning
from marblecli.models.family import Family
from marblecli.models.passes import Passes

PolicyName = Literal["trained", "old", "reference"]
_GRAPHS = 64
"""Compiled at most: kinds of block times policies times shapes, with room to spare."""


class Policies(ABC):
    """Velocities of the three policies, and the weights of two of them."""

    checkpoints: BlockCheckpoints | None = None
    """Of the trained network's blocks, where only their inputs are kept for the backward passes."""

    def __init__(self, family: Family, dtype: torch.dtype, shards: Shards = UNSHARDED) -> None:
        self.family = family
        """Which knows how its network is called and what its blocks are."""
        self.shards = shards
        """Which rows of the trained parameters are here."""
        self.passes = Passes()
        """The passes that this process has made, by all three policies."""
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
                # The cache would keep whole weights that a sharded network lets go of.
                cache_enabled=not self.shards.sharded,
            ):
                velocity = self.family.velocity(network, noised, noise_level, conditioning)
        velocity = velocity.to(noised.dtype)
        self.passes.count(velocity)
        return velocity

    def checkpoint_blocks(self) -> None:
        """Keep only the blocks' inputs of a forward pass that carries gradients."""
        network = self.network("trained")
        self.checkpoints = BlockCheckpoints(network, self.shards)
        self.family.checkpoint_blocks(network, self.checkpoints)

    def compile_blocks(self, backend: str = "inductor") -> None:
        """Compile the blocks for passes without gradients: sampling, old and reference policy.

        Blocks of one kind share a graph, and a change of adapters is a change to another graph that
        was compiled before: three kinds of block, three policies and two shapes make eighteen in
        SD3.5 Medium (inductor makes the second shape's dynamic). The pass that carries gradients
        runs as written: a compiled one can't be gone through backwards twice, nor be contracted.
        """
        # Imported here because it takes long.
        import torch._dynamo as dynamo

        dynamo.config.recompile_limit = max(dynamo.config.recompile_limit, _GRAPHS)
        for network in self._networks_to_compile():
            for block in self.family.blocks(network):
                # With fullgraph a graph that breaks, or too many of them, is an error.
                block.compile(fullgraph=True, backend=backend)
        self._compiled = True

    def _eager(self, *, wanted: bool) -> AbstractContextManager[object]:
        if self._compiled and wanted:
            return torch.compiler.set_stance("force_eager")
        return nullcontext()

    @property
    def old_is_trained(self) -> bool:
        """Whether the old policy's weights are known to be the trained ones, bit for bit.

        They are after ``blend_old(0.0)`` and ``load``, until the next ``blend_old`` or until
        anything else changes them in place in a way that torch sees.
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
    def _networks_to_compile(self) -> list[nn.Module]:
        """The networks that run without gradients."""

    @abstractmethod
    def network(self, name: PolicyName) -> nn.Module:
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
        self._copy(self.trained_parameters(), trained)
        self._copy(self.old_parameters(), old)
        # Whole tensors are compared: all processes must come to the same answer.
        shared = all(torch.equal(theirs, old[name]) for name, theirs in trained.items())
        self._shared_versions = self._versions() if shared else None

    def load_trained(self, trained: Mapping[str, Tensor]) -> None:
        """Take over saved weights for the trained policy, by the names of its parameters."""
        self._copy(self.trained_parameters(), trained)
        self._shared_versions = None

    @torch.no_grad()
    def _copy(self, mine: Mapping[str, Parameter], theirs: Mapping[str, Tensor]) -> None:
        for name, parameter in mine.items():
            parameter.copy_(self.shards.cut(theirs[name]))
