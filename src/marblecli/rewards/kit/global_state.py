"""The state that a whole process shares, which a reward must not change."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

State = Mapping[str, Any]

_VARIABLE = "the environment's "


def take_state() -> State:
    """The state by name, in a form that can be compared; environment variables one by one."""
    state = {
        "Python's random state": random.getstate(),
        "NumPy's random state": _numpy_random_state(),
        "NumPy's error handling": np.geterr(),
        "torch's random state": torch.get_rng_state().tolist(),
        "torch's CUDA random state": _cuda_random_state(),
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": torch.get_default_device(),
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's inference mode": torch.is_inference_mode_enabled(),
        "torch's number of threads": torch.get_num_threads(),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision(),
        "torch's deterministic mode": torch.are_deterministic_algorithms_enabled(),
        "cuDNN's flags": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic),
        "the working directory": os.getcwd(),
        "sys.path": tuple(sys.path),
    }
    return {**state, **{_VARIABLE + key: text for key, text in os.environ.items()}}


def changes(before: State, after: State) -> list[str]:
    """The names of the parts that differ."""
    missing = object()
    names = dict.fromkeys((*before, *after))
    return [n for n in names if before.get(n, missing) != after.get(n, missing)]


def is_variable(name: str) -> bool:
    """Whether ``name`` is that of an environment variable in a state."""
    return name.startswith(_VARIABLE)


def restore_variables(state: State) -> None:
    """Set the environment variables to those of ``state``."""
    os.environ.clear()
    os.environ.update(
        {name.removeprefix(_VARIABLE): text for name, text in state.items() if is_variable(name)}
    )


def _numpy_random_state() -> tuple[Any, ...]:
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - it is the one that code shares
    return kind, np.asarray(keys).tolist(), *rest


def _cuda_random_state() -> list[list[int]]:
    # Asking for the state would initialise CUDA. Before that there is no state to compare.
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call] # torch has no type for it
        return []
    return [state.tolist() for state in torch.cuda.get_rng_state_all()]
