"""Run parts, each in a process of its own, so that nothing is lost when one of them dies."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gpu_check.parts import Part
from gpu_check.results import DONE, FAILED, Result, noting, read_result, write_result
from gpu_check.sizes import ON_A_GPU, REHEARSAL, Sizes

_FOLDER = Path(__file__).parent
_PATIENCE = 4
"""How many times its limit a part may take in a rehearsal, whose machine may be a slow one."""
_LONGEST_REASON = 300
_OFFLINE = {"HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}

Command = Callable[[Part, Path, bool], Sequence[str]]
"""The command of a part's process, from its part, the folder, and whether it is a rehearsal."""


@dataclass(frozen=True)
class Order:
    """What is to be run, and how."""

    folder: Path
    rehearsal: bool = False
    again: bool = False
    """Also run parts that are done."""
    within: float | None = None
    """Seconds after which no part may still run; None for as long as it takes."""


def own_command(part: Part, folder: Path, rehearsal: bool) -> list[str]:
    """The command that measures the part in the process that it starts."""
    command = [sys.executable, str(_FOLDER), "--here", part.name, "--out", str(folder)]
    return [*command, "--rehearse"] if rehearsal else command


def run_parts(
    parts: Sequence[Part],
    order: Order,
    tell: Callable[[str], None],
    command: Command = own_command,
) -> bool:
    """Run the parts one after the other. Returns whether all of them are done."""
    order.folder.mkdir(parents=True, exist_ok=True)
    begun, good = time.monotonic(), True
    for part in parts:
        known = read_result(order.folder, part.name)
        if known and is_done(known, order.rehearsal) and not order.again:
            tell(f"{part.name}: done before, in {known.seconds:.0f} s")
            continue
        left = None if order.within is None else order.within - (time.monotonic() - begun)
        if left is not None and part.limit > left:
            tell(f"{part.name}: left out, as it may take {part.limit} s and {left:.0f} s are left")
            good = False
            continue
        tell(f"{part.name}: {part.answers}; at most {part.limit} s")
        result = run_part(part, order, command)
        good = good and result.state == DONE
        tell(f"{part.name}: {result.state} after {result.seconds:.0f} s {result.reason or ''}")
    return good


def is_done(result: Result, rehearsal: bool) -> bool:
    """Whether a result needn't be measured again; a rehearsal's doesn't count for a GPU."""
    return result.state == DONE and result.rehearsal == rehearsal


def run_part(part: Part, order: Order, command: Command = own_command) -> Result:
    """Run one part in its own process, and write what came of it."""
    write_result(order.folder, Result(part.name, rehearsal=order.rehearsal))
    begun = time.monotonic()
    limit = part.limit * (_PATIENCE if order.rehearsal else 1)
    log = order.folder / f"{part.name}.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen(  # noqa: S603, our own command
            command(part, order.folder, order.rehearsal),
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, **_OFFLINE},
            start_new_session=True,
        )
        try:
            code: int | None = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            _end(process)
    known = read_result(order.folder, part.name) or Result(part.name)
    reason = None if code == 0 else _reason(code, limit, log)
    result = replace(
        known,
        state=DONE if code == 0 else FAILED,
        rehearsal=order.rehearsal,
        seconds=round(time.monotonic() - begun, 1),
        reason=reason,
    )
    write_result(order.folder, result)
    return result


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what the process has started, and itself if it still runs."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait()


def _reason(code: int | None, limit: float, log: Path) -> str:
    if code is None:
        return f"took more than {limit:.0f} s"
    if code < 0:
        name = signal.Signals(-code).name
        hint = "; the machine's memory may have run out" if name == "SIGKILL" else ""
        return f"ended by {name}{hint}"
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return lines[-1].strip()[:_LONGEST_REASON] if lines else f"ended with {code}"


def measure_here(part: Part, folder: Path, rehearsal: bool) -> None:
    """Measure a part in this process, and keep its figures as they come."""
    sizes: Sizes = REHEARSAL if rehearsal else ON_A_GPU
    result = Result(part.name, rehearsal=rehearsal, environment=_environment())
    write_result(folder, result)
    part.measure(sizes, noting(folder, result))


def _environment() -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    return {
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "card": torch.cuda.get_device_properties(0).total_memory if cuda else None,
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
    }
