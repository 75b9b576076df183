"""The optimizer, and its state as named tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import Parameter

from marblecli.errors import BadInputError
from marblecli.settings import TrainingSettings


def make_optimizer(
    parameters: Sequence[Parameter], settings: TrainingSettings, *, fused: bool = False
) -> torch.optim.Optimizer:
    """The optimizer that ``settings`` ask for.

    This is AdamW, fused on CUDA or if ``fused``; or bitsandbytes' AdamW, which keeps its two
    averages in 8 bits. Raises BadInputError if bitsandbytes is asked for and isn't installed.
    """
    options: dict[str, Any] = {
        "lr": settings.learning_rate,
        "eps": settings.adam_epsilon,
        "weight_decay": settings.weight_decay,
    }
    if settings.optimizer == "adamw-8bit":
        try:
            from bitsandbytes.optim import AdamW8bit
        except ImportError as error:
            raise BadInputError(
                'training.optimizer = "adamw-8bit" needs bitsandbytes: pip install bitsandbytes'
            ) from error
        optimizer: torch.optim.Optimizer = AdamW8bit(parameters, **options)
        return optimizer
    if fused or parameters[0].is_cuda:
        options["fused"] = True
    return torch.optim.AdamW(parameters, **options)


def learning_rate(settings: TrainingSettings, step: int) -> float:
    """The rate of ``step`` (from 1), by the schedule of transformers that ``settings`` name."""
    shape = _schedule(settings.schedule, settings.warmup_steps, settings.steps)
    return settings.learning_rate * shape(step - 1)


@cache
def _schedule(name: str, warmup_steps: int, steps: int) -> Callable[[int], float]:
    """By how much the rate is multiplied after a number of steps.

    The schedule is taken out of its object, so that nothing of it has to be in a checkpoint.
    """
    from transformers.optimization import get_scheduler

    known = "constant_with_warmup" if name == "constant" else name
    unused = torch.optim.SGD([torch.zeros(())], lr=1.0)
    scheduler = get_scheduler(known, unused, warmup_steps, steps)
    (shape,) = scheduler.lr_lambdas
    return cast("Callable[[int], float]", shape)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The optimizer's state by ``PARAMETER.NAME``, where PARAMETER is the parameter's number.

    Whole numbers become int64 tensors without dimensions.
    """
    return {
        f"{index}.{name}": value if isinstance(value, Tensor) else torch.tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for name, value in _flat(entry)
    }


def _flat(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The state of one parameter. bitsandbytes nests some of it, but also reads it flat."""
    for name, value in entry.items():
        yield from _flat(value) if isinstance(value, Mapping) else ((name, value),)


def load_optimizer_tensors(optimizer: torch.optim.Optimizer, saved: Mapping[str, Tensor]) -> None:
    """Restore a copy of what :func:`optimizer_tensors` returned."""
    entries: dict[int, dict[str, Tensor | int]] = {}
    for key, value in saved.items():
        index, name = key.split(".", 1)
        whole = value.dtype == torch.int64 and not value.ndim
        entries.setdefault(int(index), {})[name] = int(value) if whole else value.clone()
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": entries, "param_groups": groups})
