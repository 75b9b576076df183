"""The peaks, with a made-up CUDA in place of a device."""

from __future__ import annotations

import pytest
import torch

import device_memory
from device_memory import DeviceMemory, InUse, cap


@pytest.fixture
def peaks(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The peaks of tensors since the last reset; the allocator keeps 10 bytes more."""
    found = [0]
    ready = [False]

    def reset() -> None:
        assert ready[0], "did you call init?"
        found[0] = 0

    cuda = torch.cuda
    monkeypatch.setattr(cuda, "is_available", lambda: True)
    monkeypatch.setattr(cuda, "init", lambda: ready.__setitem__(0, True))
    monkeypatch.setattr(cuda, "reset_peak_memory_stats", reset)
    monkeypatch.setattr(cuda, "max_memory_allocated", lambda: found[0])
    monkeypatch.setattr(cuda, "max_memory_reserved", lambda: found[0] + 10)
    monkeypatch.setattr(cuda, "memory_reserved", lambda: 20)
    monkeypatch.setattr(cuda, "mem_get_info", lambda: (950, 1000))
    return found


def test_a_peak_is_that_since_it_was_last_asked(peaks: list[int]) -> None:
    memory = DeviceMemory()
    peaks[0] = 30
    assert memory.take_peak() == 30
    assert memory.take_peak() == 0


def test_what_the_allocator_kept_is_the_most_of_all_times(peaks: list[int]) -> None:
    memory = DeviceMemory()
    peaks[0] = 30
    memory.take_peak()
    peaks[0] = 5
    assert memory.at_most(30) == InUse(allocated=30, reserved=40, outside=30)


def test_a_cap_is_a_share_of_the_card(monkeypatch: pytest.MonkeyPatch, peaks: list[int]) -> None:
    shares: list[float] = []
    card = type("Card", (), {"total_memory": 48 * 2**30})
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: card)
    monkeypatch.setattr(torch.cuda, "set_per_process_memory_fraction", shares.append)
    cap(24.0)
    cap(80.0)
    assert shares == [0.5, 1.0]
    assert device_memory.total_memory() == 48 * 2**30


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a device")
def test_on_a_cpu_it_is_the_processs_own() -> None:
    memory = DeviceMemory()
    peak = memory.take_peak()
    assert peak > 2**20
    assert memory.at_most(peak) == InUse(peak, peak, 0)
