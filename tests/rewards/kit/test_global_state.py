from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from marblecli.rewards.kit.global_state import (
    changes,
    is_variable,
    restore_variables,
    take_state,
)


def test_without_a_change_nothing_is_reported() -> None:
    assert changes(take_state(), take_state()) == []


def undo(action: Callable[[], object], back: Callable[[], object]) -> list[str]:
    before = take_state()
    try:
        action()
        return changes(before, take_state())
    finally:
        back()


def test_a_change_of_each_kind_of_state_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python, tensor = random.getstate(), torch.get_rng_state()
    numpy = np.random.get_state()  # noqa: NPY002
    here, path, threads = os.getcwd(), list(sys.path), torch.get_num_threads()
    errors = np.geterr()
    cases: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
        "Python's random state": (random.random, lambda: random.setstate(python)),
        "NumPy's random state": (
            lambda: np.random.seed(7),  # noqa: NPY002
            lambda: np.random.set_state(numpy),  # noqa: NPY002
        ),
        "NumPy's error handling": (
            lambda: np.seterr(invalid="raise"),
            lambda: np.seterr(**errors),
        ),
        "torch's random state": (lambda: torch.rand(1), lambda: torch.set_rng_state(tensor)),
        "torch's default dtype": (
            lambda: torch.set_default_dtype(torch.float64),
            lambda: torch.set_default_dtype(torch.float32),
        ),
        "torch's default device": (
            lambda: torch.set_default_device("meta"),
            lambda: torch.set_default_device(None),
        ),
        "torch's grad mode": (
            lambda: torch.set_grad_enabled(False),
            lambda: torch.set_grad_enabled(True),
        ),
        "torch's number of threads": (
            lambda: torch.set_num_threads(threads + 1),
            lambda: torch.set_num_threads(threads),
        ),
        "torch's float32 matmul precision": (
            lambda: torch.set_float32_matmul_precision("medium"),
            lambda: torch.set_float32_matmul_precision("highest"),
        ),
        "torch's deterministic mode": (
            lambda: torch.use_deterministic_algorithms(True),
            lambda: torch.use_deterministic_algorithms(False),
        ),
        "cuDNN's flags": (
            lambda: setattr(torch.backends.cudnn, "benchmark", True),
            lambda: setattr(torch.backends.cudnn, "benchmark", False),
        ),
        "the working directory": (lambda: os.chdir(tmp_path), lambda: os.chdir(here)),
        "sys.path": (
            lambda: sys.path.append("/x"),
            lambda: sys.path.__setitem__(slice(None), path),
        ),
        "the environment's MARBLE_KIT": (
            lambda: os.environ.__setitem__("MARBLE_KIT", "1"),
            lambda: os.environ.pop("MARBLE_KIT"),
        ),
    }
    for name, (action, back) in cases.items():
        found = undo(action, back)
        # Deterministic mode imports a part of torch that sets an environment variable.
        assert [one for one in found if "TORCHINDUCTOR" not in one] == [name]


def test_a_variable_that_is_unset_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARBLE_KIT", "1")
    before = take_state()
    monkeypatch.delenv("MARBLE_KIT")
    assert changes(before, take_state()) == ["the environment's MARBLE_KIT"]


def test_inference_mode_is_reported() -> None:
    before = take_state()
    with torch.inference_mode():
        assert "torch's inference mode" in changes(before, take_state())


def test_variables_can_be_set_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARBLE_KIT", "1")
    before = take_state()
    monkeypatch.setenv("MARBLE_KIT", "2")
    monkeypatch.setenv("MARBLE_OTHER", "3")
    changed = changes(before, take_state())
    assert changed == ["the environment's MARBLE_KIT", "the environment's MARBLE_OTHER"]
    assert all(map(is_variable, changed))
    assert not is_variable("sys.path")
    restore_variables(before)
    assert changes(before, take_state()) == []
