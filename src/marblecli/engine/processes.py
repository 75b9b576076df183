"""The processes of a run: which prompts each has, and the few moments at which they talk.

All hold the same weights and step them alike; what is divided is the images. So they meet only to
gather rewards (every advantage, share and standard deviation is the whole batch's), to sum
gradients once a step, and to agree on stopping. A run of one process never talks. Weights that are
divided, too, are another story: :mod:`marblecli.engine.shards`.
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
"""For which a process waits for the others: one may have a slow reward."""
_DEEPSPEED = "ACCELERATE_USE_DEEPSPEED"
_BUCKET = 2**26
"""Elements that are summed at a time, so that the sum needs no second copy of everything."""


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them; by default it is the only one."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this is the one that writes and prints."""
        return self.rank == 0

    def share(self, items: int) -> slice:
        """Which of ``items`` in order are this process's: a run of them, as even as can be.

        All shares in the order of the ranks are all items; where there are too few, some are empty.
        """
        each, rest = divmod(items, self.count)
        start = self.rank * each + min(self.rank, rest)
        return slice(start, start + each + (self.rank < rest))

    def gather(self, part: _T) -> list[_T]:
        """Every process's part, by rank, in all of them."""
        if self.count == 1:
            return [part]
        from accelerate.utils import gather_object

        with talking():
            return gather_object([part])

    def gather_to_first(self, part: _T) -> list[_T]:
        """Every process's part, by rank, in the first; nothing elsewhere."""
        if self.count == 1:
            return [part]
        from torch import distributed

        parts = [part] * self.count if self.first else None
        with talking():
            distributed.gather_object(part, parts)
        return parts or []

    def agree(self, flag: bool) -> bool:
        """Whether any process says so: the same answer in all."""
        return any(self.gather(flag))

    def wait(self) -> None:
        """Until all processes are here."""
        self.gather(None)

    def sum_(self, tensors: Iterable[Tensor]) -> None:
        """Replace each by its sum over the processes, to the same bits in all."""
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
    """Inside, processes run networks together: a peer that is lost is told from other errors."""
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
    """Neighbours of one dtype, at most ``_BUCKET`` elements together (or one tensor)."""
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
    """Inside, what torch raises of a lost peer is a LostProcessError."""
    import torch

    try:
        yield
    except (torch.OutOfMemoryError, torch.AcceleratorError):
        raise
    except RuntimeError as error:
        # What gloo and NCCL raise of a peer that is gone, or silent for too long.
        raise _lost(error) from error


def started_processes() -> Processes:
    """What a launcher (torchrun, accelerate, ``--num-processes``) says that this process is."""
    environment = os.environ
    if "LOCAL_RANK" not in environment:
        return Processes()
    return Processes(int(environment.get("RANK", "0")), int(environment.get("WORLD_SIZE", "1")))


def check_even(prompts: int, count: int) -> None:
    """With divided weights, processes run their networks together: all need as much to do.

    Raises BadInputError.
    """
    if prompts % count:
        raise BadInputError(
            f"sampling.prompts_per_step: divided weights need as many prompts in each process, and "
            f"{prompts} can't be divided so among {count}"
        )


def connect() -> Processes:
    """Meet the other processes, if a launcher started several: NCCL on GPUs, gloo on CPUs.

    Raises BadInputError where the launcher wants a DeepSpeed that isn't installed.
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
    """What divides weights asks for a process group, also of a process that is alone."""
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
    """A single process, too, is a group to DeepSpeed."""
    if find_spec("deepspeed") is None:
        raise BadInputError(
            "accelerate is configured for DeepSpeed, which isn't installed: pip install deepspeed"
        )
    from accelerate import PartialState

    cpu = _cpu_alone()
    if cpu:
        # It would warn that it has found no GPU.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    with running_together():
        # Told to take the CPU, accelerate would leave DeepSpeed out.
        PartialState(backend="gloo" if cpu else None, timeout=_PATIENCE)


def on_cpu(processes: Processes) -> bool:
    """Whether accelerate has to be told so: one process, or DeepSpeed, finds its device itself."""
    from accelerate.utils import parse_flag_from_env

    if processes.count == 1 or wants_deepspeed():
        return False
    return _cpu_alone() or bool(parse_flag_from_env("ACCELERATE_USE_CPU"))


def _cpu_alone() -> bool:
    """Whether processes can talk on the CPU only."""
    import torch

    found = torch.accelerator.current_accelerator(check_available=True)
    # Apple's backend has no way to talk to other processes.
    return found is None or found.type == "mps"
