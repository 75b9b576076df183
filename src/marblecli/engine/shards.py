"""Sharded weights in full mode: each process of a run holds its own rows of every weight.

torch's FSDP2 gathers the weights of a block for as long as the block runs, forwards or backwards,
and then frees them. To the rest of the program, the rows in a process are the parameters. So
optimizer, averages and accumulators are sharded like the weights (as in ZeRO, Rajbhandari et al.
2020), and what is summed over elements has to be summed over the processes too. All processes take
part in every pass through a network: they must make the same passes in the same order.

Offloaded rows are kept in the CPU's memory (ZeRO-Offload, Ren et al. 2021), and so is everything of
their size. The device then holds only the block that runs. A single process can offload, too.
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
"""Elements of whole gradients that are computed and sent at a time; of a parameter with more
elements, one gradient."""


@dataclass(frozen=True)
class Shards:
    """Which rows of every parameter this process holds; by default nothing is sharded.

    The rows of a parameter are split as by ``torch.chunk``: all processes have the same number, but
    the last ones may have fewer or none.
    """

    processes: Processes = field(default_factory=Processes)
    """The processes that share the rows; a single one holds all rows."""
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where the networks of this process run."""
    offloaded: bool = False
    """Whether the rows are in the CPU's memory while their block doesn't run."""

    @property
    def sharded(self) -> bool:
        """Whether weights have to be brought to the device before they run."""
        return self.processes.count > 1 or self.offloaded

    @property
    def home(self) -> torch.device:
        """Where the rows of this process are kept."""
        return torch.device("cpu") if self.offloaded else self.device

    def cut(self, whole: Tensor) -> Tensor:
        """The rows of this process, from a whole tensor [R, ...]; a number stays as it is."""
        if not (self.sharded and whole.ndim):
            return whole
        rows = -(-len(whole) // self.processes.count)
        return whole[self.processes.rank * rows :][:rows]

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The whole tensors by name, gathered from the rows ``parts`` of every process.

        They are on the CPU of the first process; the other processes get no tensors. If nothing is
        sharded, ``parts`` are returned as they are.
        """
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
        """The whole tensor in the first process; in the others the part itself.

        ``rows`` is the number of rows in each process.
        """
        from torch import distributed

        if self.processes.count == 1:
            return part
        # Offloaded parts go to the device, too: NCCL can't gather tensors on the CPU.
        padded = part.new_zeros(max(rows), *part.shape[1:], device=self.device)
        padded[: len(part)] = part
        parts = [torch.empty_like(padded) for _ in rows] if self.processes.first else None
        with talking():
            distributed.gather(padded, parts)
        if parts is None:
            return part
        return torch.cat([each[:count] for each, count in zip(parts, rows, strict=True)])

    def shard(self, network: nn.Module, blocks: Sequence[nn.Module]) -> None:
        """Shard the network in place: keep this process's rows of its parameters, at :attr:`home`.

        ``blocks`` are the network's repeated blocks; the rest is gathered as one more block. The
        network gives the same output as before, if all processes run it together, and its ``.grad``
        are sums over the processes. Raises BadInputError if torch can't do this here.
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
        # It warns of changes to the network's output in place. Nobody makes any.
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        meet_alone(self.device)
        mesh = init_device_mesh(self.device.type, (self.processes.count,))
        # Copies to the device don't wait for it if they come from pinned memory.
        waiting = CPUOffloadPolicy(pin_memory=self.device.type == "cuda")
        policy = waiting if self.offloaded else OffloadPolicy()
        for part in (*blocks, network):
            # The default for the last one, the network, is to keep gathered weights between passes.
            # They wouldn't see the optimizer's changes.
            sharded = fully_shard(
                part, mesh=mesh, reshard_after_forward=True, offload_policy=policy
            )
            sharded.set_gradient_divide_factor(1.0)
            # gloo can sum, but not average.
            sharded.set_force_sum_reduction_for_comms(True)

    @contextmanager
    def gathered(self, module: nn.Module | None) -> Iterator[None]:
        """Inside, the parameters of ``module`` are whole.

        ``module`` is a block, or the network: then they are its parameters outside the blocks.
        """
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
"""Every process holds all rows of every weight."""


def forget_pass(network: nn.Module) -> None:
    """Tell FSDP2 that no backward pass follows, after a pass of a sharded network."""
    cast("FSDPModule", network).reset_iter_state()


def local_parameters(network: nn.Module) -> dict[str, Parameter]:
    """The rows in this process of a sharded network's parameters, to be changed in place."""
    return {
        name: Parameter(local_rows(parameter), requires_grad=parameter.requires_grad)
        for name, parameter in network.named_parameters()
    }


@torch.no_grad()
def local_rows(tensor: Tensor) -> Tensor:
    """The rows in this process of a sharded tensor, in the same memory."""
    return cast("DTensor", tensor).to_local()


class ScatteredSums:
    """Sums of whole gradients over the processes; each process adds its rows to its own totals.

    All processes must add gradients of the same shapes in the same order. The totals are complete
    after :meth:`settle`. In the shapes below, c counts gradients and R a parameter's rows.
    """

    def __init__(self, shards: Shards) -> None:
        self._count = shards.processes.count
        self._copies = CopiesToCpu() if shards.offloaded else None
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._elements = 0

    def add(self, total: Tensor, whole: Tensor) -> None:
        """Add the sum of ``whole`` [c, R, ...] over the processes to ``total`` [c, own rows, ...].

        ``total`` gets this process's rows of the sum.
        """
        self._waiting.append((total, whole))
        self._elements += whole.numel()
        if self._elements >= TOGETHER:
            self._send()

    def add_columns(self, total: Tensor, like: Tensor, whole: Callable[[slice], Tensor]) -> None:
        """Like :meth:`add`, with gradients that are computed a few at a time, to save memory.

        ``whole(some)`` computes the gradients of the slice ``some`` of the c: [len(some), R, ...].
        Each has the shape of ``like`` [R, ...].
        """
        size = max(1, TOGETHER // max(1, like.numel()))
        for start in range(0, len(total), size):
            some = slice(start, start + size)
            self.add(total[some], whole(some))

    def settle(self) -> None:
        """Send the gradients that wait, and complete the totals."""
        self._send()
        if self._copies is not None:
            self._copies.settle()

    def _send(self) -> None:
        waiting, self._waiting, self._elements = self._waiting, [], 0
        if not waiting:
            return
        received = self._summed(torch.cat([self._by_process(whole) for _, whole in waiting], 1))
        # This keeps their shapes, not the gradients: they are freed before the rows are copied.
        targets = [(total, self._padded(whole)) for total, whole in waiting]
        if self._copies is None:
            _add_rows(targets, received)
        else:
            self._copies.start(received, partial(_add_rows, targets))

    def _summed(self, sent: Tensor) -> Tensor:
        """[processes, elements] -> the sum of this process's row over all processes, [elements]."""
        from torch import distributed

        if self._count == 1:
            return sent[0]
        received = sent.new_empty(sent.shape[1])
        with talking():
            distributed.reduce_scatter_single(received, sent.flatten())
        return received

    def _by_process(self, whole: Tensor) -> Tensor:
        """[c, R, ...] -> [processes, elements], padded so that each process gets as many."""
        missing = self._count * self._padded(whole)[1] - whole.shape[1]
        if missing:
            whole = nn.functional.pad(whole, (0, 0) * (whole.ndim - 2) + (0, missing))
        return whole.unflatten(1, (self._count, -1)).movedim(1, 0).flatten(1)

    def _padded(self, whole: Tensor) -> tuple[int, ...]:
        """The padded shape of a process's part, which is the same for all: [c, rows, ...]."""
        return (len(whole), -(-whole.shape[1] // self._count), *whole.shape[2:])


def _add_rows(targets: Sequence[tuple[Tensor, Sequence[int]]], flat: Tensor) -> None:
    """Add to every total [c, own rows, ...] its part of ``flat``, which has the padded shapes."""
    parts = flat.split([math.prod(shape) for _, shape in targets])
    for (total, shape), part in zip(targets, parts, strict=True):
        total.add_(part.view(*shape)[:, : total.shape[1]])
