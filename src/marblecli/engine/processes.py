"""The processes of a run: which prompts each of them has, and how they communicate.

Each process samples and trains on its own share of the images. All hold the same weights and make
the same updates. So they communicate only to gather rewards (advantages, shares and standard
deviations are those of the whole batch), to sum gradients once a step, and to agree on stopping. A
run of one process doesn't communicate. Sharded weights need more:
:mod:`marblecli.engine.shards`.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, TypeVar

from marblecli.errors import BadInputError, LostProcessError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

_T = TypeVar("_T")

_PATIENCE = timedelta(minutes=30)
"""How long a process waits for the others: one of them may have a slow reward."""
_DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"
_BUCKET = 2**26
"""Elements that are summed at a time, so that a sum needs no second copy of all tensors."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, as one of them sees them; by default it is the only one."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and prints."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """Which of ``items`` items belong to this process, as consecutive places.

        The shares of all processes, in the order of their ranks, are all items. Their sizes differ
        by at most one; if there are fewer items than processes, some shares are empty.
        """
        each, rest = divmod(items, self.count)
        start = self.rank * each + min(self.rank, rest)
        return slice(start, start + each + (self.rank < rest))

    def gather(self, part: _T) -> list[_T]:
        """The ``part`` of every process, by rank; all processes get all parts."""
        if self.count == 1:
            return [part]
        from accelerate.utils import gather_object

        with talking():
            return gather_object([part])

    def gather_to_first(self, part: _T) -> list[_T]:
        """The ``part`` of every process, by rank, in the first process; [] in the others."""
        if self.count == 1:
            return [part]
        from torch import distributed

        parts = [part] * self.count if self.first else None
        with talking():
            distributed.gather_object(part, parts)
        return parts or []

    def agree(self, flag: bool) -> bool:
        """Whether ``flag`` is true in any process; all processes get the same answer."""
        return any(self.gather(flag))

    def wait(self) -> None:
        """Wait until all processes have called this."""
        self.gather(None)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its sum over the processes, in place.

        The sums are the same in all processes, to the bit.
        """
        if self.count == 1:
            return
        import torch
        from torch import distributed

        for bucket in _buckets(tensors):
            flat = torch.cat([tensor.detach().flatten() for tensor in bucket])
            with talking():
                distributed.all_reduce(flat)
            sums = flat.split([tensor.numel() for tensor in bucket])
            for tensor, total in zip(bucket, sums, strict=True):
                tensor.detach().copy_(total.view_as(tensor))


@contextmanager
def running_together() -> Iterator[None]:
    """Raise LostProcessError if another process ends while processes run networks together.

    Other errors of torch are raised as they are.
    """
    from torch import distributed

    try:
        yield
    except RuntimeError as error:
        if not (isinstance(error, distributed.DistError) or "gloo" in str(error)):
            raise
        raise _lost(error) from error


def _lost(error: RuntimeError) -> LostProcessError:
    return LostProcessError(f"another process of the run is gone: {str(error).splitlines()[0]}")


def _buckets(tensors: Iterable[Tensor]) -> Iterator[Sequence[Tensor]]:
    """Consecutive tensors of one dtype: at most ``_BUCKET`` elements, or one larger tensor."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        elements = sum(other.numel() for other in bucket) + tensor.numel()
        if bucket and (elements > _BUCKET or tensor.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


@contextmanager
def talking() -> Iterator[None]:
    """Raise LostProcessError if another process ends during a communication."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:
        # gloo and NCCL raise this if another process has ended, or hasn't answered in time.
        raise _lost(error) from error


def started_processes() -> Processes:
    """The processes that a launcher (torchrun, accelerate, ``--num-processes``) has started."""
    environment = os.environ
    if "LOCAL_RANK" not in environment:
        return Processes()
    return Processes(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))


def check_even(prompts: int, count: int) -> None:
    """Raise BadInputError if ``prompts`` prompts can't be shared evenly among ``count`` processes.

    Processes with sharded weights run their networks together, so all need as many prompts.
    """
    if prompts % count:
        raise BadInputError(
            f"sampling.prompts_per_step: sharded weights need as many prompts in each process, and "
            f"{prompts} is no multiple of {count}"
        )


def connect() -> Processes:
    """Connect to the other processes, if a launcher has started several.

    They communicate by NCCL on GPUs and by gloo on CPUs. Raises BadInputError if the launcher is
    configured for DeepSpeed and DeepSpeed isn't installed.
    """
    started = started_processes()
    if wants_deepspeed():
        _connect_deepspeed()
    elif started.count > 1:
        from accelerate import PartialState

        with talking():
            PartialState(cpu=on_cpu(started), timeout=_PATIENCE)
    return started


def meet_alone(device: torch.device) -> None:
    """Make a process group of this process alone, if there is no group.

    FSDP2 needs a group even for the weights of a single process.
    """
    from torch import distributed
    from torch.distributed import HashStore  # type: ignore[attr-defined] # public, not in its types

    if distributed.is_initialized():
        return
    backend = distributed.get_default_backend_for_device(device)
    distributed.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    atexit.register(_part)


def _part() -> None:
    from torch import distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def wants_deepspeed() -> bool:
    """Whether accelerate's launcher was configured for DeepSpeed."""
    return "LOCAL_RANK" in os.environ and os.environ.get(_DEEPSPEED, "").lower() == "true"


def _connect_deepspeed() -> None:
    """Connect for DeepSpeed, which needs a process group even for a single process."""
    if find_spec("deepspeed") is None:
        raise BadInputError(
            "accelerate is configured for DeepSpeed, which isn't installed: pip install deepspeed"
        )
    from accelerate import PartialState

    cpu = _cpu_alone()
    if cpu:
        # Without this, DeepSpeed warns that it has found no GPU.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with running_together():
        # With cpu=True, accelerate would ignore DeepSpeed.
        PartialState(backend="gloo" if cpu else None, timeout=_PATIENCE)


def on_cpu(processes: Processes) -> bool:
    """Whether accelerate needs ``cpu=True``.

    It doesn't for a single process, nor with DeepSpeed: these find their device themselves.
    """
    from accelerate.utils import parse_flag_from_env

    if processes.count == 1 or wants_deepspeed():
        return False
    return _cpu_alone() or bool(parse_flag_from_env("ACCELERATE_USE_CPU"))


def _cpu_alone() -> bool:
    """Whether processes of this machine can communicate on the CPU only."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    # Apple's backend can't communicate with other processes.
    return found is None or found.type == "mps"
