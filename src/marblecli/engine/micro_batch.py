"""The micro-batch size: how many images go through the trained network at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

import torch
from accelerate.utils.memory import release_memory, should_reduce_batch_size

from marblecli.engine.processes import Processes
from marblecli.errors import MarbleError

_T = TypeVar("_T")


class MicroBatch:
    """The size in use, the same in all processes; it is halved when the device's memory runs out.

    ``setting`` is the recipe's. ``images`` is the largest number of images that a process has in a
    step, and the first size where the setting is ``auto``. A ``fixed`` size isn't halved: sharded
    weights stay half gathered where memory runs out, while other processes wait for them.
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
        """Return ``attempt(size)``; if memory runs out in any process, try again at half the size.

        All processes try again together. So an attempt must not communicate with other processes,
        and must leave nothing behind when it fails.

        Raises MarbleError if memory runs out with one image, or with a fixed size.
        """
        while True:
            found = _tried(attempt, self.size)
            if self._fixed:
                return self._only(found)
            if not self._processes.agree(not found):
                return found[0]
            # The failed attempt's stack frames, and the tensors that they held, are gone by now.
            found.clear()
            release_memory()
            self._halve()

    def _only(self, found: list[_T]) -> _T:
        if found:
            return found[0]
        raise MarbleError(
            f"out of memory with {min(self.size, self._images)} images at a time; with model.shard "
            "or model.offload the batch can't begin again with fewer. Go on with "
            "marble resume RUN_DIR --set model.gradient_checkpointing=true, or start a new run "
            "with a smaller training.micro_batch_size"
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
        """Messages for the user since the last call, one for each time the size was halved."""
        taken, self._notices = tuple(self._notices), []
        return taken


def _tried(attempt: Callable[[int], _T], size: int) -> list[_T]:
    """[what ``attempt`` returned], or [] if memory ran out."""
    try:
        return [attempt(size)]
    except RuntimeError as error:
        if not (isinstance(error, torch.OutOfMemoryError) or should_reduce_batch_size(error)):
            raise
        return []
