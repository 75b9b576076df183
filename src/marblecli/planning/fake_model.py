"""The policies of a recipe on fake tensors, and the passes through them that are counted."""

from __future__ import annotations

import gc
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from marblecli.engine.processes import Processes
from marblecli.engine.shards import TOGETHER
from marblecli.models.conditioning import Conditioning
from marblecli.models.dtypes import DTYPES
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies, PolicyName
from marblecli.planning.cuda_autocast import CudaAutocast
from marblecli.planning.fake import FakeShards, faked
from marblecli.planning.fake_group import fake_group
from marblecli.planning.stacks import Stack, keep, shorten
from marblecli.planning.subject import Subject
from marblecli.planning.timeline import Growth, Timeline, growth
from marblecli.planning.weights import Weights, weights_of
from marblecli.progress import listening
from marblecli.settings import ModelSettings

DeviceKind = Literal["cuda", "cpu"]
_ROWS = (2, 3)
"""Rows of the two runs from which every number of rows follows. One row would be a special case to
some operations."""
_NUMBERED = re.compile(r"(^|\.)\d+\.")
"""A number within a layer's name, as that of a block."""
_POLICIES: tuple[PolicyName, ...] = ("trained", "old", "reference")

Pass = Callable[[Policies, int, Timeline], None]
"""(policies, rows, the timeline that records) -> nothing; what is to be counted."""


@dataclass(frozen=True)
class ModelCase:
    """What decides how the policies' networks run."""

    subject: Subject
    model: ModelSettings
    resolution: int
    processes: int = 1
    device: DeviceKind = "cuda"

    @property
    def sharded(self) -> bool:
        """Whether a network's weights are whole only while it runs."""
        alone = self.processes == 1 and not self.model.offload
        return self.model.mode == "full" and self.model.sharded and not alone

    @property
    def numbered(self) -> bool:
        """Whether adapters go to blocks by their number: equal blocks then differ by adapters, and
        would have other numbers once some are taken out.
        """
        targets = self.model.lora.targets or self.subject.family.spec.adapters.targets
        return targets != "all-linear" and any(_NUMBERED.search(target) for target in targets)

    def conditioning(self, rows: int) -> Conditioning:
        """That of some rows, made where this is called."""
        return self.subject.conditioning(self.model, rows, DTYPES[self.model.dtype])


def _as_it_is(block: nn.Module, *inputs: Any) -> Any:
    return block(*inputs)


class FakeModel:
    """Policies whose weights are fake tensors, with most of the equal blocks taken out.

    ``kept`` says how many blocks stay of each row of equal ones (see
    :func:`~marblecli.planning.stacks.kinds`). What a pass holds can't be measured then.
    """

    def __init__(self, case: ModelCase, *, kept: Sequence[int] | None = None) -> None:
        self.case = case
        self.mode = FakeTensorMode()
        self._timeline: Timeline | None = None
        self._checkpointing = False
        network = case.subject.network()
        self._stacks: list[Stack] = []
        if kept is None:
            self._stacks = self._shortened(network)
        else:
            keep(network, case.subject.family.blocks(network), kept)
        with self._group():
            self.policies = self._make_policies(network)
        networks = {id(n): n for n in (self.policies.network(name) for name in _POLICIES)}
        for each in networks.values():
            self._watch(each)
        with self._running(None):
            # The old policy's weights differ from the trained ones, as they do after a step.
            self.policies.blend_old(0.5)
            if case.sharded:
                # The first pass makes buffers that stay.
                with torch.no_grad():
                    for name in _POLICIES:
                        self.policies.velocity(name, *self.inputs(_ROWS[0]))

    def _shortened(self, network: nn.Module) -> list[Stack]:
        blocks = self.case.subject.family.blocks(network)
        smallest = min(weights_of(block).parameters for block in blocks)
        if self.case.sharded and smallest < TOGETHER:
            # Gradients of several blocks wait for each other and are sent together: a block doesn't
            # stand for the others then.
            return []
        return [] if self.case.numbered else shorten(network, blocks)

    def _make_policies(self, network: nn.Module) -> Policies:
        case = self.case
        wanted = {"compile": False, "gradient_checkpointing": False}
        model = case.model.model_copy(update=wanted)
        if model.mode == "lora":
            nn.Module.to(network, DTYPES[model.dtype])
        if case.sharded:
            shards = FakeShards(
                Processes(0, case.processes), offloaded=model.offload, mode=self.mode
            )
            return make_policies(case.subject.family, network, model, shards)
        with torch.device("meta"):
            policies = make_policies(case.subject.family, network, model)
        return faked(self.mode, policies, *(policies.network(name) for name in _POLICIES))

    def _group(self) -> AbstractContextManager[object]:
        return fake_group(self.case.processes) if self.case.sharded else nullcontext()

    @property
    def trained(self) -> int:
        """Trained elements that this process holds, those of the missing blocks included."""
        there = sum(each.numel() for each in self.policies.trained_parameters().values())
        return there + self.missing

    @property
    def missing(self) -> int:
        """Those of the missing blocks."""
        blocks = self.case.subject.family.blocks(self.policies.network("trained"))
        own = {id(parameter) for parameter in self.policies.layer_parameters()}
        processes = self.case.processes if self.case.sharded else 1
        found = 0
        for stack in self._stacks:
            parameters = blocks[stack.typical].parameters()
            shapes = tuple(tuple(each.shape) for each in parameters if id(each) in own)
            found += stack.missing * Weights(shapes, buffers=0).rows(processes)
        return found

    @property
    def checkpointing(self) -> bool:
        """Whether the passes that carry gradients keep only the blocks' inputs."""
        return self._checkpointing

    @checkpointing.setter
    def checkpointing(self, wanted: bool) -> None:
        if wanted != self._checkpointing:
            self._checkpoint(wanted=wanted)
            self._checkpointing = wanted

    def _checkpoint(self, *, wanted: bool) -> None:
        policies = self.policies
        if wanted:
            policies.checkpoint_blocks()
        else:
            policies.checkpoints = None
            policies.family.checkpoint_blocks(policies.network("trained"), _as_it_is)

    def _watch(self, network: nn.Module) -> None:
        """Tell the timeline when a typical block runs forwards within the network.

        The blocks' own ``forward`` is replaced, not hooked: checkpointing calls it by itself.
        """
        inside = [False]
        run_network = network.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            inside[0] = True
            try:
                return run_network(*args, **kwargs)
            finally:
                inside[0] = False

        network.forward = forward
        blocks = self.case.subject.family.blocks(network)
        for kind, stack in enumerate(self._stacks):
            self._watch_typical(blocks[stack.typical], kind, inside)
            self._watch_last(blocks[stack.last], inside)

    def _watch_typical(self, block: nn.Module, kind: int, inside: Sequence[bool]) -> None:
        run = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            if self._timeline is None or not inside[0]:
                return run(*args, **kwargs)
            with self._timeline.typical(kind):
                return run(*args, **kwargs)

        block.forward = forward

    def _watch_last(self, block: nn.Module, inside: Sequence[bool]) -> None:
        run = block.forward

        def forward(*args: Any, **kwargs: Any) -> Any:
            try:
                return run(*args, **kwargs)
            finally:
                if self._timeline is not None and inside[0]:
                    self._timeline.settle()

        block.forward = forward

    def measure(self, one: Pass) -> Growth:
        """What a pass holds at every moment, beyond what was there before it."""
        moments = []
        for rows in _ROWS:
            timeline = Timeline([stack.missing for stack in self._stacks])
            with self._running(timeline):
                one(self.policies, rows, timeline)
            moments.append(timeline.moments)
        return growth(moments, _ROWS)

    def sampling(self) -> Growth:
        """What one pass of the policy that samples holds."""

        def one(policies: Policies, rows: int, timeline: Timeline) -> None:
            inputs = self.inputs(rows)
            with timeline, torch.no_grad():
                policies.velocity("old", *inputs)

        return self.measure(one)

    def inputs(self, rows: int) -> tuple[Tensor, Tensor, Conditioning]:
        """x_t, t and the conditioning."""
        noised = torch.zeros(rows, *self.case.subject.latent_shape(self.case.resolution))
        return noised, torch.zeros(rows), self.case.conditioning(rows)

    def running(self) -> AbstractContextManager[None]:
        """Inside, passes run on fake tensors without being recorded."""
        return self._running(None)

    @contextmanager
    def _running(self, timeline: Timeline | None) -> Iterator[None]:
        # A collection would free memory of garbage at a moment of its own.
        gc.disable()
        with ExitStack() as stack:
            stack.callback(gc.enable)
            stack.enter_context(self._group())
            # What runs on fake tensors is no progress of the user's.
            stack.enter_context(listening(None))
            if self.case.device == "cuda":
                stack.enter_context(CudaAutocast())
            stack.enter_context(self.mode)
            self._timeline = timeline
            try:
                yield
            finally:
                self._timeline = None
