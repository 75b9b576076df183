"""Score images by all rewards: each on the images it applies to; faults are masked and named."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from marblecli.rewards.daemon import DaemonExecutor
from marblecli.rewards.lane import ActiveReward, Lane
from marblecli.rewards.spec import ImageLayout
from marblecli.types import Prompt, RewardTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marblecli.types import BoolArray

__all__ = ["ActiveReward", "RewardSuite", "convert", "merge"]

_PATIENCE = 5.0
"""Seconds that a running call may still take when the suite is closed."""


class RewardSuite:
    """K rewards that score the same images, each in a thread of its own, one call at a time.

    A call that never returns isn't waited for, and doesn't keep the process from ending. Use the
    suite as a context manager, or call :meth:`close`.
    """

    def __init__(self, rewards: Sequence[ActiveReward]) -> None:
        self._rewards = tuple(rewards)
        self._lanes = tuple(Lane(reward) for reward in rewards)
        self._queue = DaemonExecutor("rewards")
        self._drivers = DaemonExecutor("lanes", len(self._lanes))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the K rewards, in the order of a table's columns."""
        return tuple(reward.name for reward in self._rewards)

    def applies(self, prompts: Sequence[Prompt]) -> BoolArray:
        """[N, K], whether the reward applies to the prompt; this is known before scoring."""
        rows = [[reward.applies(prompt) for reward in self._rewards] for prompt in prompts]
        return np.array(rows, dtype=bool).reshape(len(prompts), len(self._rewards))

    def score(self, images: Tensor, prompts: Sequence[Prompt]) -> RewardTable:
        """Score ``images``, float32 [B, 3, H, W] in [0, 1], one prompt for each, by all rewards.

        Where a reward raises, takes longer than its time-out, or gives values that aren't finite,
        it is masked, and named in ``faults``.
        """
        return self.submit(images, prompts).result()

    def submit(
        self, images: Tensor, prompts: Sequence[Prompt], names: Sequence[str] | None = None
    ) -> Future[RewardTable]:
        """Like :meth:`score`, in the background, so that sampling can go on.

        Batches are scored in the order of the calls. Don't change ``images`` until the future is
        done. ``names`` are the rewards to score by, in the suite's order; all where absent. Raises
        ValueError unless there is one prompt for each image.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        return self._queue.submit(self._score, images, tuple(prompts), self._places(names))

    def close(self) -> None:
        """Cancel the batches that wait, and wait a few seconds for the calls that run."""
        self._queue.close(_PATIENCE)
        self._drivers.close(0.0)
        for lane in self._lanes:
            lane.close(0.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def empty(self, names: Sequence[str] | None = None) -> RewardTable:
        """The table of no images; ``names`` as in :meth:`submit`."""
        places = self._places(names)
        values = np.zeros((0, len(places)))
        return RewardTable(tuple(self.names[p] for p in places), values, values.astype(bool))

    def _places(self, names: Sequence[str] | None) -> list[int]:
        wanted = self.names if names is None else names
        return [place for place, name in enumerate(self.names) if name in wanted]

    def _score(self, images: Tensor, prompts: tuple[Prompt, ...], places: list[int]) -> RewardTable:
        rewards, lanes = self._rewards, self._lanes
        applies = self.applies(prompts)
        layouts = {
            layout: convert(images, layout)
            for layout in {rewards[place].spec.images for place in places}
        }
        # Rewards may share a model, so all are moved, one by one, before any of them scores.
        for place in places:
            if applies[:, place].any():
                lanes[place].visit()
        waiting = [
            self._drivers.submit(
                lanes[place].score,
                layouts[rewards[place].spec.images],
                prompts,
                applies[:, place],
            )
            for place in places
        ]
        columns = [future.result() for future in waiting]
        faults = [column.fault for column in columns]
        if not self._queue.waiting:
            faults += [lane.rest() for lane in lanes]
        return RewardTable(
            names=tuple(self.names[place] for place in places),
            values=_side_by_side(
                [
                    column.values * rewards[place].scale
                    for place, column in zip(places, columns, strict=True)
                ],
                len(prompts),
            ),
            valid=_side_by_side([column.valid for column in columns], len(prompts)).astype(bool),
            faults=tuple(fault for fault in faults if fault),
        )


def merge(tables: Sequence[RewardTable]) -> RewardTable:
    """Concatenate at least one table of the same rewards, along the images.

    Raises ValueError if the tables have different rewards.
    """
    names = {table.names for table in tables}
    if len(names) != 1:
        raise ValueError(f"tables of one set of rewards can be merged, got {sorted(names)}")
    return RewardTable(
        names=tables[0].names,
        values=np.concatenate([table.values for table in tables]),
        valid=np.concatenate([table.valid for table in tables]),
        faults=tuple(fault for table in tables for fault in table.faults),
    )


def convert(images: Tensor, layout: ImageLayout) -> Any:
    """Convert ``images``, float32 [B, 3, H, W] in [0, 1], to the layout that a reward declared."""
    images = images.detach()
    if layout == "float":
        return images
    pixels = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    array = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if layout == "uint8":
        return array
    from PIL import Image

    return [Image.fromarray(image) for image in array]


def _side_by_side(columns: Sequence[NDArray[Any]], rows: int) -> NDArray[Any]:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))
