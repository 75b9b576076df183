"""Images -> RewardTable: each reward on the images where it applies, faults masked and named."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from marblecli.rewards.spec import ImageLayout, RewardBatch, RewardSpec, Scorer
from marblecli.types import Prompt, RewardFault, RewardTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from marblecli.types import BoolArray, FloatArray


@dataclass(frozen=True)
class ActiveReward:
    """A reward with its scorer built."""

    spec: RewardSpec
    scorer: Scorer
    sources: tuple[str, ...] | None = None
    """Prompt sources that it is limited to, or None for all."""

    @property
    def name(self) -> str:
        return self.spec.name

    def applies(self, prompt: Prompt) -> bool:
        """Whether the prompt carries the declared metadata and comes from one of the sources."""
        return self.spec.applies(prompt, self.sources)


@dataclass(frozen=True)
class _Column:
    """One reward's part of a table."""

    values: FloatArray
    valid: BoolArray
    fault: RewardFault | None = None


class RewardSuite:
    """K rewards that score together, each in a thread of its own, one call at a time.

    Use it as a context manager, or call :meth:`close`.
    """

    def __init__(self, rewards: Sequence[ActiveReward]) -> None:
        self._rewards = tuple(rewards)
        self._queue = ThreadPoolExecutor(1, "rewards")
        self._threads = [ThreadPoolExecutor(1, f"reward-{one.name}") for one in rewards]

    @property
    def names(self) -> tuple[str, ...]:
        """The rewards' names, K, in the order of the columns."""
        return tuple(reward.name for reward in self._rewards)

    def applies(self, prompts: Sequence[Prompt]) -> BoolArray:
        """[N, K], known before scoring: the reward applies to the prompt."""
        rows = [[reward.applies(prompt) for reward in self._rewards] for prompt in prompts]
        return np.array(rows, dtype=bool).reshape(len(prompts), len(self._rewards))

    def score(self, images: Tensor, prompts: Sequence[Prompt]) -> RewardTable:
        """Score float32 [B, 3, H, W] images in [0, 1], one prompt for each; waits for all rewards.

        A reward that raises, or gives values that aren't finite, is masked there and named in
        ``faults``.
        """
        return self.submit(images, prompts).result()

    def submit(self, images: Tensor, prompts: Sequence[Prompt]) -> Future[RewardTable]:
        """Like :meth:`score`, in the background, so that sampling can go on; tables in order.

        ``images`` must not be changed until the future is done.
        """
        if len(images) != len(prompts):
            raise ValueError(f"{len(images)} images but {len(prompts)} prompts")
        return self._queue.submit(self._score, images, tuple(prompts))

    def close(self) -> None:
        """Finish the calls that run, drop those that wait."""
        for pool in (self._queue, *self._threads):
            pool.shutdown(wait=True, cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _score(self, images: Tensor, prompts: tuple[Prompt, ...]) -> RewardTable:
        applies = self.applies(prompts)
        layouts = {layout: _convert(images, layout) for layout in self._layouts()}
        waiting = [
            thread.submit(_score_column, reward, layouts[reward.spec.images], prompts, column)
            for thread, reward, column in zip(self._threads, self._rewards, applies.T, strict=True)
        ]
        columns = [future.result() for future in waiting]
        return RewardTable(
            names=self.names,
            values=_side_by_side([column.values for column in columns], len(prompts)),
            valid=_side_by_side([column.valid for column in columns], len(prompts)).astype(bool),
            faults=tuple(column.fault for column in columns if column.fault),
        )

    def _layouts(self) -> set[ImageLayout]:
        return {reward.spec.images for reward in self._rewards}


def merge(tables: Sequence[RewardTable]) -> RewardTable:
    """Tables of the same rewards, at least one, joined along N.

    Raises ValueError if they are of different rewards.
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


def _convert(images: Tensor, layout: ImageLayout) -> Any:
    """Float32 [B, 3, H, W] in [0, 1] -> the layout that the rewards declared."""
    images = images.detach()
    if layout == "float":
        return images
    pixels = images.clamp(0, 1).mul(255).round().to(torch.uint8)
    array = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    if layout == "uint8":
        return array
    from PIL import Image

    return [Image.fromarray(image) for image in array]


def _score_column(
    reward: ActiveReward, images: Any, prompts: Sequence[Prompt], applies: BoolArray
) -> _Column:
    rows = [int(row) for row in np.flatnonzero(applies)]
    values, valid = np.zeros(len(prompts)), np.zeros(len(prompts), dtype=bool)
    if not rows:
        return _Column(values, valid)
    batch = RewardBatch(
        images=_select(images, rows),
        prompts=[prompts[row].text for row in rows],
        metadata=[prompts[row].metadata for row in rows],
    )
    try:
        scores = _call(reward.scorer, batch, len(rows))
    # A scorer is a stranger's code: whatever it raises costs these images, not the run.
    except Exception as error:  # noqa: BLE001
        message = f"{type(error).__name__}: {' '.join(str(error).split())}"
        return _Column(values, valid, RewardFault(reward.name, message, len(rows)))
    good = np.isfinite(scores)
    values[rows], valid[rows] = np.where(good, scores, 0.0), good
    if good.all():
        return _Column(values, valid)
    bad = int((~good).sum())
    message = f"{bad} of {len(rows)} values aren't finite"
    return _Column(values, valid, RewardFault(reward.name, message, bad))


def _select(images: Any, rows: list[int]) -> Any:
    """Copies, so that what a scorer does to its images reaches no other reward."""
    return [images[row].copy() for row in rows] if isinstance(images, list) else images[rows]


def _call(scorer: Scorer, batch: RewardBatch, count: int) -> FloatArray:
    # A worker thread starts with gradients on, whatever the caller's mode.
    with torch.no_grad():
        scores = np.asarray(scorer(batch), dtype=np.float64)
    if scores.shape != (count,):
        raise ValueError(f"expected {count} values, got an array of shape {scores.shape}")
    return scores


def _side_by_side(columns: Sequence[NDArray[Any]], rows: int) -> NDArray[Any]:
    return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))
