"""How many images go through the trained network at a time, as far as the device's memory goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from accelerate.utils.memory import release_memory, should_reduce_batch_size

from marblecli.engine.processes import Processes
from marblecli.errors import MarbleError

_T = TypeVar("_T")


class MicroBatch:
    """The size in use, the same in all processes; it is halved when memory runs out.

    ``images`` is the most that a process has in a step: where ``auto`` starts. A ``fixed`` size
    isn't halved: weights that are divided or offloaded are left half gathered where memory runs
    out, and other processes wait for them.
    """

    def __init__(
        self,
        setting: int | Literal["auto"],
        images: int,
        processes: Processes,
        *,
        fixed: bool = False,
    ) -> None:
        self.size = images if setting == "auto" else setting
        self._images = images
        self._processes = processes
        self._fixed = fixed
        self._notices: list[str] = []

    def fitted(self, attempt: Callable[[int], _T]) -> _T:
        """``attempt(size)``; after running out of memory, again from the start at half the size.

        An attempt leaves nothing behind when it fails, and talks to no other process: one that had
        memory enough begins again with the others. Raises MarbleError if one image is too many, or
        the size is fixed.
        """
        while True:
            found = _tried(attempt, self.size)
            if self._fixed:
                return self._only(found)
            if not self._processes.agree(not found):
                return found[0]
            # Here the failed attempt's frames, and what they held, are gone.
            found.clear()
            release_memory()
            self._halve()

    def _only(self, found: list[_T]) -> _T:
        if found:
            return found[0]
        raise MarbleError(
            f"out of memory with {min(self.size, self._images)} images at a time, and with "
            "model.shard or model.offload the batch can't begin again; go on with --resume and a "
            "smaller training.micro_batch_size, or model.gradient_checkpointing = true"
        )

    def _halve(self) -> None:
        size = min(self.size, self._images)
        if size == 1:
            raise MarbleError(
                "out of memory with one image at a time; set model.gradient_checkpointing = true, "
                "measure.parts = false or a smaller sampling.resolution or model.lora.rank"
            )
        self.size = size // 2
        self._notices.append(
            f"out of memory with {size} images at a time: training.micro_batch_size is now "
            f"{self.size}, and the batch begins again"
        )

    def take_notices(self) -> tuple[str, ...]:
        """What there is to tell the user since the last call."""
        taken, self._notices = tuple(self._notices), []
        return taken


def _tried(attempt: Callable[[int], _T], size: int) -> list[_T]:
    """What it returned, or nothing where memory ran out."""
    try:
        return [attempt(size)]
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
            raise
        return []
