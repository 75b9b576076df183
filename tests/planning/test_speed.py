from __future__ import annotations

import itertools

import pytest
import torch

from marblecli.planning import speed
from marblecli.planning.speed import measured_speed


def test_a_product_of_two_matrices_is_two_operations_for_each_of_its_terms(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = itertools.count(0.0, 0.5)
    monkeypatch.setattr(speed.time, "perf_counter", lambda: next(clock))
    found = measured_speed(torch.device("cpu"), torch.float32, seconds=1.0)
    # By this clock, each product takes half a second.
    assert found == 2.0 * 1024**3 / 0.5


def test_this_machine_has_a_speed() -> None:
    assert 1e8 < measured_speed(torch.device("cpu"), torch.float32, seconds=0.1) < 1e15
