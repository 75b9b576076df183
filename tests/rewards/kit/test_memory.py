from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from marblecli.rewards.kit.memory import PeakMemory


def test_what_is_taken_and_given_back_is_still_seen() -> None:
    watch = PeakMemory("cpu")
    taken = np.ones(200_000_000, dtype=np.uint8)
    time.sleep(0.05)
    del taken
    time.sleep(0.05)
    process, device = watch.stop()
    assert 150 < process < 400
    assert device == 0


def test_nothing_taken_is_hardly_anything() -> None:
    watch = PeakMemory("cpu")
    time.sleep(0.02)
    assert watch.stop()[0] < 50


@pytest.mark.gpu
def test_a_devices_memory_is_counted_apart() -> None:
    watch = PeakMemory("cuda")
    taken = torch.ones(100_000_000, dtype=torch.uint8, device="cuda")
    del taken
    assert 95 < watch.stop()[1] < 150
