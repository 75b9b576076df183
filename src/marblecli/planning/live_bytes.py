"""Memory without a GPU: the bytes that a device's allocator would have handed out."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode, is_traceable_wrapper_subclass
from torch.utils._pytree import tree_leaves

_MAKES_NOTHING = {torch.ops.prim.device.default}
"""Operations that are frequent on fake tensors and return no tensor."""


class LiveBytes(TorchDispatchMode):
    """Inside, counts the bytes of the tensors that were made inside and are still alive.

    Real tensors and fake ones are counted, tensors on the meta device aren't. A tensor's memory is
    counted once, however many views it has. Memory that an operation takes and gives back before it
    returns (a kernel's workspace) isn't seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        """Bytes alive at this moment."""
        self.peak = 0
        """The most bytes that were alive at once."""
        self._sizes: dict[int, int] = {}
        self._resize = UntypedStorage.resize_

    def __enter__(self) -> LiveBytes:
        # FSDP2 gives memory back by making storages empty, which no operation shows.
        counter = self

        def resize_(storage: UntypedStorage, size: int) -> Any:
            result = counter._resize(storage, size)
            counter._resized(int(storage._cdata), storage.nbytes())
            return result

        UntypedStorage.resize_ = resize_  # type: ignore[method-assign, assignment] # torch's own tracker does so
        super().__enter__()
        return self

    def __exit__(self, *reason: Any) -> None:
        super().__exit__(*reason)
        UntypedStorage.resize_ = self._resize  # type: ignore[method-assign] # put back

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _MAKES_NOTHING:
            return result
        unknown = [each for each in _held(result) if _key(each) not in self._sizes]
        if unknown:
            given = {_key(each) for each in _held((args, kwargs))}
            for each in unknown:
                if _key(each) not in given and _key(each) not in self._sizes:
                    self._made(each)
        return result

    def _made(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key = _key(tensor)
        self._sizes[key] = 0
        weakref.finalize(storage, self._gone, key)
        self._resized(key, storage.nbytes())

    def _resized(self, key: int, size: int) -> None:
        if key in self._sizes:
            self.now += size - self._sizes[key]
            self._sizes[key] = size
            self.peak = max(self.peak, self.now)

    def _gone(self, key: int) -> None:
        self._resized(key, 0)
        del self._sizes[key]


def _held(value: object) -> Iterator[Tensor]:
    """The tensors with memory of their own in a nest of values."""
    leaves = (value,) if isinstance(value, Tensor) else tree_leaves(value)
    for leaf in leaves:
        if not isinstance(leaf, Tensor) or leaf.device.type == "meta":
            continue
        if is_traceable_wrapper_subclass(leaf):
            names, _ = leaf.__tensor_flatten__()
            yield from _held([getattr(leaf, name) for name in names])
        else:
            yield leaf


def _key(tensor: Tensor) -> int:
    return int(tensor.untyped_storage()._cdata)
