"""Full mode divided among the processes of a run: each holds its rows of every weight.

torch's FSDP2 gathers a block's weights for as long as the block runs, forwards or backwards, and
forgets them again. The rest of the program sees a process's rows as if they were the parameters:
optimizer, averages and accumulators are divided with them (as in ZeRO, Rajbhandari et al. 2020),
and what is summed over elements is summed over the processes besides. Every pass through a network
is one for all processes: they must make the same ones in the same order.

Rows that are offloaded wait in the CPU's memory (ZeRO-Offload, Ren et al. 2021), also those of a
single process, and with them all that has their size: the device holds what runs.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from marblecli.engine.copies import CopiesToCpu
from marblecli.engine.processes import Processes, meet_alone, talking
from marblecli.errors import BadInputError

if TYPE_CHECKING:
    from torch.distributed.fsdp import FSDPModule
    from torch.distributed.tensor import DTensor

TOGETHER = 2**24
"""Elements of gradients that are made whole, and sent, at a time, or one of a larger parameter."""


@dataclass(frozen=True)
class Shards:
    """Which rows of every parameter this process holds; by default nothing is divided.

    Rows are divided as ``torch.chunk`` does it: all but the last processes have as many, and some
    may have none.
    """

    processes: Processes = field(default_factory=Processes)
    """Among whom; one has everything."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where this process's networks run."""
    offloaded: bool = False
    """Whether the rows are in the CPU's memory until their block runs."""

    @property
    def sharded(self) -> bool:
        """Whether a device lacks anything before it runs."""
        return self.processes.count > 1 or self.offloaded

    @property
    def home(self) -> torch.device:
        """Where this process's rows are."""
        return torch.device("cpu") if self.offloaded else self.device

    def cut(self, whole: Tensor) -> Tensor:
        """Rows of this process, of a whole tensor [R, ...]; a number isn't divided."""
        if not (self.sharded and whole.ndim):
            return whole
        rows = -(-len(whole) // self.processes.count)
        return whole[self.processes.rank * rows :][:rows]

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole tensors, by name, on the CPU of the first process; nothing elsewhere."""
        if not self.sharded:
            return dict(parts)
        mine = [len(part) if part.ndim else 0 for part in parts.values()]
        lengths = zip(*self.processes.gather(mine), strict=True)
        found = {}
        for (name, part), rows in zip(parts.items(), lengths, strict=True):
            tensor = self._gathered_to_first(part.detach(), rows) if part.ndim else part
            if self.processes.first:
                found[name] = tensor.cpu()
        return found

    def _gathered_to_first(self, part: Tensor, rows: tuple[int, ...]) -> Tensor:
        """The whole; elsewhere the part."""
        from torch import distributed

        if self.processes.count == 1:
            return part
        # On the device, also of what is offloaded: NCCL knows nothing else.
        padded = part.new_zeros(max(rows), *part.shape[1:], device=self.device)
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in rows] if self.processes.first else None
        with talking():
            distributed.gather(padded, parts)
        if parts is None:
            return part
        return torch.cat([each[:count] for each, count in zip(parts, rows, strict=True)])

    def shard(self, network: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Leave this process's rows of the network's parameters at :attr:`home`, block by block.

        ``blocks`` are the network's repeated blocks; what isn't in them is gathered as one more.
        The network runs as before, if all processes run it together. Its ``.grad`` are sums over
        them. Raises BadInputError where torch can't do it.
        """
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import (
            CPUOffloadPolicy,
            FSDPModule,
            OffloadPolicy,
            fully_shard,
        )

        if not hasattr(FSDPModule, "reset_iter_state"):
            raise BadInputError(
                "model.shard and model.offload need a newer torch than "
                f"{torch.__version__}: pip install -U torch"
            )
        if self.device.type == "mps":
            raise BadInputError(
                "model.shard and model.offload need a GPU of NVIDIA or Intel, or the CPU alone; "
                "set them to false"
            )
        # It speaks of changes in place of the network's output, which nobody makes.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        meet_alone(self.device)
        mesh = init_device_mesh(self.device.type, (self.processes.count,))
        # Pinned, so that copies to the device don't wait for it.
        waiting = CPUOffloadPolicy(pin_memory=self.device.type == "cuda")
        policy = waiting if self.offloaded else OffloadPolicy()
        for part in (*blocks, network):
            # The last is asked for, too: FSDP2 would keep its weights, and not see them change.
            sharded = fully_shard(
                part, mesh=mesh, reshard_after_forward=True, offload_policy=policy
            )
            sharded.set_gradient_divide_factor(1.0)
            # With gloo a sum is all there is.
            sharded.set_force_sum_reduction_for_comms(True)

    @contextmanager
    def gathered(self, module: nn.Module | None) -> Iterator[None]:
        """Inside, the parameters of a block (or, of the network, the others) are whole."""
        if not self.sharded:
            yield
            return
        sharded = cast("FSDPModule", module)
        with talking() if self.processes.count > 1 else nullcontext():
            sharded.unshard()
        try:
            yield
        finally:
            sharded.reshard()


UNSHARDED = Shards()
"""One process holds everything, or all hold the same."""


def forget_pass(network: nn.Module) -> None:
    """Of a divided network that ran without gradients: FSDP2 waits for the backward pass."""
    cast("FSDPModule", network).reset_iter_state()


def local_parameters(network: nn.Module) -> dict[str, Parameter]:
    """The rows that are here of a divided network's parameters, to be changed in place."""
    return {
        name: Parameter(local_rows(parameter), requires_grad=parameter.requires_grad)
        for name, parameter in network.named_parameters()
    }


@torch.no_grad()
def local_rows(tensor: Tensor) -> Tensor:
    """The rows of a divided tensor that are here, in the same memory."""
    return cast("DTensor", tensor).to_local()


class ScatteredSums:
    """Gradients of whole parameters, summed over the processes; each adds its rows to its totals.

    Every process must come with gradients of the same shapes in the same order. Totals are complete
    after :meth:`settle`.
    """

    def __init__(self, shards: Shards) -> None:
        self._count = shards.processes.count
        self._copies = CopiesToCpu() if shards.offloaded else None
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._elements = 0

    def add(self, total: Tensor, whole: Tensor) -> None:
        """To ``total`` [c, own rows, ...], the sum of ``whole`` [c, R, ...]."""
        self._waiting.append((total, whole))
        self._elements += whole.numel()
        if self._elements >= TOGETHER:
            self._send()

    def add_columns(self, total: Tensor, like: Tensor, whole: Callable[[slice], Tensor]) -> None:
        """To ``total`` [c, own rows, ...], what ``whole`` gives of some of the c, [.., R, ...].

        Each is shaped as ``like``. They aren't all made at once.
        """
        size = max(1, TOGETHER // max(1, like.numel()))
        for start in range(0, len(total), size):
            some = slice(start, start + size)
            self.add(total[some], whole(some))

    def settle(self) -> None:
        """Send what waits, and have all that was sent in the totals."""
        self._send()
        if self._copies is not None:
            self._copies.settle()

    def _send(self) -> None:
        waiting, self._waiting, self._elements = self._waiting, [], 0
        if not waiting:
            return
        received = self._summed(torch.cat([self._by_process(whole) for _, whole in waiting], 1))
        # Not the gradients themselves: they needn't wait for their rows to land.
        targets = [(total, self._padded(whole)) for total, whole in waiting]
        if self._copies is None:
            _add_rows(targets, received)
        else:
            self._copies.start(received, partial(_add_rows, targets))

    def _summed(self, sent: Tensor) -> Tensor:
        """[processes, elements] -> this process's, [elements]."""
        from torch import distributed

        if self._count == 1:
            return sent[0]
        received = sent.new_empty(sent.shape[1])
        with talking():
            distributed.reduce_scatter_single(received, sent.flatten())
        return received

    def _by_process(self, whole: Tensor) -> Tensor:
        """[c, R, ...] -> [processes, as many elements for each]."""
        missing = self._count * self._padded(whole)[1] - whole.shape[1]
        if missing:
            whole = nn.functional.pad(whole, (0, 0) * (whole.ndim - 2) + (0, missing))
        return whole.unflatten(1, (self._count, -1)).movedim(1, 0).flatten(1)

    def _padded(self, whole: Tensor) -> tuple[int, ...]:
        """The shape of one process's part, which is the same for all: [c, rows, ...]."""
        return (len(whole), -(-whole.shape[1] // self._count), *whole.shape[2:])


def _add_rows(targets: Sequence[tuple[Tensor, Sequence[int]]], flat: Tensor) -> None:
    """To every total [c, own rows, ...] its part of ``flat``, which has that padded shape."""
    parts = flat.split([math.prod(shape) for _, shape in targets])
    for (total, shape), part in zip(targets, parts, strict=True):
        total.add_(part.view(*shape)[:, : total.shape[1]])
