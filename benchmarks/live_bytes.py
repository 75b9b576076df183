"""Memory on a machine without a GPU: what a device's allocator would have handed out."""

from __future__ import annotations

import weakref
from typing import Any

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Bytes of the tensors made inside that are alive, and their most at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self._seen: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        given = {_memory_of(leaf) for leaf in tree_leaves((args, kwargs)) if _is_real(leaf)}
        result = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(result):
            if _is_real(leaf) and _memory_of(leaf) not in self._seen | given:
                self._made(leaf)
        return result

    def _made(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._seen.add(_memory_of(tensor))
        self.now += storage.nbytes()
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._gone, _memory_of(tensor), storage.nbytes())

    def _gone(self, key: int, count: int) -> None:
        self._seen.discard(key)
        self.now -= count


def _is_real(leaf: object) -> bool:
    return isinstance(leaf, Tensor) and leaf.device.type != "meta"


def _memory_of(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
