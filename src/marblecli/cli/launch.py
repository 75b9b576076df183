"""Several processes of one run on this machine: start them, pass signals on, say which one failed.

torch's elastic library starts and ends them. Its agent isn't used, because it ends all others as
soon as one has stopped, also at Ctrl-C while the first still saves the checkpoint.
"""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import FrameType
from typing import TYPE_CHECKING

import typer

from marblecli.engine.processes import check_even, started_processes
from marblecli.errors import BadInputError, LostProcessError, MarbleError
from marblecli.settings import Recipe

if TYPE_CHECKING:
    from torch.distributed.elastic.multiprocessing import SubprocessContext

_GRACE = 30.0
"""Seconds in which the others may end by themselves once one has failed."""
_INTERVAL = 0.1
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
RESUME = "go on from the last checkpoint with marble resume"


def wants_launch(count: int) -> bool:
    """Whether this command is to start ``count`` processes, and isn't one of them itself.

    Raises BadInputError if another launcher started another number.
    """
    started = started_processes()
    if started.count > 1 and count not in (1, started.count):
        raise BadInputError(
            f"--num-processes {count}, but a launcher has started {started.count} processes; "
            "leave --num-processes out"
        )
    return count > started.count


def check_processes(recipe: Recipe, count: int) -> None:
    """Raise BadInputError if some of ``count`` processes would have no prompt in a step.

    With sharded weights, also if they wouldn't all have the same number of prompts.
    """
    prompts = recipe.sampling.prompts_per_step
    if prompts < count:
        raise BadInputError(
            f"sampling.prompts_per_step: {prompts} can't be shared among {count} processes; "
            f"start at most {prompts}, or sample more prompts a step"
        )
    if recipe.model.sharded:
        check_even(prompts, count)


def launch(count: int, arguments: Sequence[str], advice: str) -> None:
    """Run ``marble ARGUMENTS`` in ``count`` processes, one a GPU if there are any, to the end.

    ``advice`` is what to do if a process ends without a word.

    Raises:
        BadInputError: the machine has too few GPUs for so many.
        MarbleError: a process failed and hasn't said why.
        typer.Exit: one failed, or was interrupted, and has said so.

    """
    import torch

    # Public, but torch's types don't export it.
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    devices = torch.cuda.device_count()
    if 0 < devices < count:
        raise BadInputError(
            f"--num-processes {count}: there are {devices} GPUs on this machine; start one a GPU"
        )
    # The workers meet here, at a port that is certainly free.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    with TemporaryDirectory(prefix="marble-") as folder, _signals() as asked:
        workers = _start(count, arguments, store.port, folder)
        try:
            codes = _watch(workers, asked)
        finally:
            workers.close(signal.SIGKILL)
        failures = [_Failure.of(workers, rank, code) for rank, code in codes.items() if code]
    if len(asked) > 1:
        raise typer.Exit(130)
    _report(failures, (count, advice), interrupted=bool(asked))


def _start(count: int, arguments: Sequence[str], port: int, folder: str) -> SubprocessContext:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SubprocessContext

    logging.getLogger("torch.distributed.elastic.multiprocessing.api").setLevel(logging.CRITICAL)
    # It would handle those that are passed on.
    os.environ["TORCHELASTIC_SIGNALS_TO_HANDLE"] = "SIGQUIT"
    workers = SubprocessContext(
        name="marble",
        entrypoint=sys.executable,
        args=dict.fromkeys(range(count), ("-m", "marblecli", *arguments)),
        envs={rank: _environment(rank, count, port) for rank in range(count)},
        logs_specs=DefaultLogsSpecs(log_dir=folder),
    )
    workers.start()
    return workers


def _environment(rank: int, count: int, port: int) -> dict[str, str]:
    """What torchrun would set."""
    threads = max(1, (os.cpu_count() or 1) // count)
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads)),
    }


@contextmanager
def _signals() -> Iterator[list[int]]:
    """The signals that came, for the workers, which have sessions of their own."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        asked.append(number)

    previous = {number: signal.signal(number, ask) for number in _FORWARDED}
    try:
        yield asked
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def _watch(workers: SubprocessContext, asked: Sequence[int]) -> dict[int, int | None]:
    """Exit codes by rank, once all have ended; None for those that don't, after a failure."""
    forwarded, deadline = 0, math.inf
    while None in (codes := _exit_codes(workers)).values() and time.monotonic() < deadline:
        for number in asked[forwarded:]:
            _send(workers, number)
        forwarded = len(asked)
        if any(codes.values()) or forwarded > 1:
            deadline = min(deadline, time.monotonic() + _GRACE)
        time.sleep(_INTERVAL)
    return codes


def _exit_codes(workers: SubprocessContext) -> dict[int, int | None]:
    return {rank: worker.proc.poll() for rank, worker in workers.subprocess_handlers.items()}


def _send(workers: SubprocessContext, number: int) -> None:
    for worker in workers.subprocess_handlers.values():
        worker.proc.send_signal(number)


@dataclass(frozen=True)
class _Failure:
    """How a process failed."""

    rank: int
    code: int
    kind: str
    """The error's class; empty if the process left no word of it."""
    message: str

    @classmethod
    def of(cls, workers: SubprocessContext, rank: int, code: int) -> _Failure:
        """From the exit code and what the process wrote to its error file, in torch's format."""
        file = Path(workers.error_files[rank])
        if not file.is_file():
            return cls(rank, code, "", "")
        document = json.loads(file.read_text(encoding="utf-8"))
        kind, _, message = document["message"]["message"].partition(": ")
        return cls(rank, code, kind, message)

    @property
    def lost(self) -> bool:
        """Whether it only lost another one."""
        return self.kind == LostProcessError.__name__

    def describe(self, count: int, advice: str) -> str:
        """In one line."""
        if self.kind:
            return f"process {self.rank}: {self.message}"
        if self.code < 0:
            name = signal.Signals(-self.code).name
            memory = " (was there enough memory?)" if -self.code == signal.SIGKILL else ""
            ending = f"was ended by {name}{memory}"
        else:
            ending = f"ended with exit code {self.code}"
        return f"process {self.rank} of {count} (from 0) {ending}; {advice}"


def _report(failures: Sequence[_Failure], about: tuple[int, str], *, interrupted: bool) -> None:
    """Raise what is to be said, but for what the first process has said itself.

    ``about`` has the number of processes, and what to do if one of them hasn't said why it ended.
    """
    if not failures:
        return
    causes = [failure for failure in failures if not failure.lost] or failures[:1]
    stopped = (130, *(-number for number in _FORWARDED))
    if interrupted and all(failure.code in stopped for failure in causes):
        raise typer.Exit(130)
    said = {failure.message for failure in causes if failure.rank == 0 and failure.kind}
    unsaid = {
        failure.message or failure.code: failure.describe(*about)
        for failure in causes
        if not failure.kind or failure.message not in said
    }
    codes = {failure.code for failure in causes}
    code = codes.pop() if len(codes) == 1 else 1
    if not unsaid:
        raise typer.Exit(code)
    error = BadInputError if code == BadInputError.exit_code else MarbleError
    raise error("\n".join(unsaid.values()))
