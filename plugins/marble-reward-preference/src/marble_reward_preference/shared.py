"""Models that several scorers may read, loaded once for each (key, device).

CLIPScore and Aesthetic both read CLIP ViT-L/14. Each scorer leases the model and says where it
wants it; their threads take turns.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from threading import RLock
from typing import Any
from weakref import WeakSet, WeakValueDictionary

import torch
from torch import nn


class _SharedModel:
    """A module, and the leases on it that are still held."""

    def __init__(self, module: nn.Module, device: torch.device) -> None:
        self.module = module.eval().requires_grad_(False)
        self.leases: WeakSet[Lease] = WeakSet()
        self.turn = RLock()
        self.move(device)

    def move(self, device: torch.device) -> None:
        self.module.to(device)
        self.device = device

    def is_wanted_here(self) -> bool:
        return any(lease.device == self.device for lease in self.leases)


class Lease:
    """One scorer's use of a model."""

    def __init__(self, shared: _SharedModel, device: torch.device) -> None:
        self._shared = shared
        self.device = device
        """Where this scorer wants the model."""
        shared.leases.add(self)

    def to(self, device: str) -> None:
        """Want the model on ``device``; it moves now, unless another scorer wants it to stay."""
        with self._shared.turn:
            self.device = torch.device(device)
            if not self._shared.is_wanted_here():
                self._shared.move(self.device)

    @contextmanager
    def use(self) -> Iterator[Any]:
        """The module, where this scorer wants it, for this thread alone.

        Without gradients and without the caller's autocast, which would change the scores.
        """
        with (
            self._shared.turn,
            torch.no_grad(),
            torch.autocast("cpu", enabled=False),
            torch.autocast(self.device.type, enabled=False),
        ):
            # It is elsewhere if the scorers that share it want it in two places.
            if self._shared.device != self.device:
                self._shared.move(self.device)
            yield self._shared.module


_LOADED: WeakValueDictionary[Hashable, _SharedModel] = WeakValueDictionary()
_LOADING = RLock()


def lease(key: Hashable, device: str, load: Callable[[], nn.Module]) -> Lease:
    """A lease on the model of that key, loaded if nobody holds one for that device.

    The model goes when its last lease does.
    """
    with _LOADING:
        shared = _LOADED.get((key, device))
        if shared is None:
            shared = _SharedModel(load(), torch.device(device))
            _LOADED[key, device] = shared
        return Lease(shared, torch.device(device))
