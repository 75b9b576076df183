from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from marblecli.rewards.kit.memory import PeakMemory


def test_memory_that_is_freed_again_counts() -> None:
    watch = PeakMemory("cpu")
    taken = np.ones(200_000_000, dtype=np.uint8)
    time.sleep(0.05)
    del taken
    time.sleep(0.05)
    process, device = watch.stop()
    assert 150 < process < 400
    assert device == 0


def test_without_an_allocation_the_peak_is_small() -> None:
    watch = PeakMemory("cpu")
    time.sleep(0.02)
    assert watch.stop()[0] < 50


def test_a_numbered_device_is_set_up_before_its_peak_is_reset(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Torch refuses to reset the peak of a device that it doesn't know yet."""
    called: list[str] = []
    for name in ("init", "reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda *_, name=name: called.append(name) or 0)
    PeakMemory("cuda:0").stop()
    assert called == ["init", "reset_peak_memory_stats", "max_memory_allocated"]


@pytest.mark.gpu
def test_the_memory_of_a_device_is_counted_separately() -> None:
    watch = PeakMemory("cuda")
    taken = torch.ones(100_000_000, dtype=torch.uint8, device="cuda")
    del taken
    assert 95 < watch.stop()[1] < 150
