"""The time that a run computes, for ``--dry-run``: its operations over a speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

from marblecli.cli.setup import Plan, evaluation_splits
from marblecli.models.architectures import UnreadableConfigError
from marblecli.models.dtypes import DTYPES
from marblecli.planning.operations import StepOperations, count_operations
from marblecli.planning.subject import Subject
from marblecli.report.render import log, out

_TERA = 1e12


@dataclass(frozen=True)
class Speed:
    """Operations a second of one process's device."""

    per_second: float
    origin: str
    """Where the figure comes from, in a few words."""


def show_time(plan: Plan, tflops: float | None, processes: int, *, here: bool) -> None:
    """Print the operations of a step, and the time that the run computes.

    ``tflops`` is the speed in 10^12 operations a second. Where absent it is measured, if the run
    would be ``here``, on this machine's device; else no time is given.
    """
    if isinstance(plan.architecture, UnreadableConfigError):
        return
    with log.status("counting operations"):
        subject = Subject(plan.family, plan.architecture)
        counted = count_operations(plan.recipe, subject, processes)
        speed = _speed(plan, tflops, here=here)
    for line in time_lines(plan, counted, speed):
        out.print(line, soft_wrap=True, markup=False)


def time_lines(plan: Plan, counted: StepOperations, speed: Speed | None) -> Iterator[str]:
    """What is said of the operations and of the time."""
    parts = {
        "sampling": counted.sampling,
        "decoding": counted.decoding,
        "gradients": counted.gradients,
    }
    shares = ", ".join(f"{name} {100 * part / counted.step:.0f} %" for name, part in parts.items())
    yield f"operations of a step, counted: {_count(counted.step)} ({shares})"
    if speed is None:
        yield "time: --speed TFLOPS says how long that takes at a speed of the device"
        return
    steps, recipe = plan.recipe.training.steps, plan.recipe
    images = evaluated_images(plan)
    evaluation = images * counted.evaluated_image / speed.per_second
    times = 2 + (0 if not recipe.eval.every else (steps - 1) // recipe.eval.every)
    each = counted.step / speed.per_second
    yield (
        f"least time at {speed.per_second / _TERA:.3g} TFLOPS ({speed.origin}): "
        f"a step {_time(each)}, an evaluation {_time(evaluation)}, "
        f"{steps} steps and {times} evaluations {_time(steps * each + times * evaluation)}"
    )
    yield (
        "a run takes longer: scoring, embedding, the optimizer and small operations aren't "
        "counted, and no model reaches the speed of large matrix products"
    )


def evaluated_images(plan: Plan) -> int:
    """Images that one evaluation samples."""
    settings, splits = plan.recipe.eval, evaluation_splits(plan)
    each = {"train": settings.images_per_train_prompt, "held-out": settings.images_per_prompt}
    return sum(each[split] * len(prompts) for split, prompts in splits.items())


def _speed(plan: Plan, tflops: float | None, *, here: bool) -> Speed | None:
    if tflops is not None:
        return Speed(tflops * _TERA, "as given")
    if not here:
        return None
    import torch

    from marblecli.planning.speed import measured_speed

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = plan.recipe.model.dtype
    found = measured_speed(device, DTYPES[dtype])
    return Speed(found, f"measured here, of {dtype} matrix products on {device.type}")


def _count(operations: float) -> str:
    """``1.23 TFLOP``, with three digits."""
    for unit, size in (("PFLOP", 1e15), ("TFLOP", 1e12), ("GFLOP", 1e9)):
        if operations >= size:
            return f"{operations / size:.3g} {unit}"
    return f"{operations / 1e6:.3g} MFLOP"


def _time(seconds: float) -> str:
    """``0.35 s``, ``42 s`` or ``1 day, 2:03:00``."""
    if seconds < 60.0:
        return f"{seconds:.2g} s"
    return str(timedelta(seconds=round(seconds)))
