"""Score images by one reward: in calls of its batch size, within its time, on its device."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from marblecli.rewards.daemon import DaemonExecutor
from marblecli.rewards.places import describe_fault
from marblecli.rewards.spec import MovableScorer, RewardBatch, RewardSpec, Scorer
from marblecli.settings import RewardSettings
from marblecli.types import BoolArray, FloatArray, Prompt, RewardFault

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")

_TIMEOUT: float = RewardSettings.model_fields["timeout"].default


@dataclass(frozen=True)
class ActiveReward:
    """A reward whose scorer is loaded."""

    spec: RewardSpec
    scorer: Scorer
    sources: tuple[str, ...] | None = None
    """The prompt sources that the reward is limited to; None for all."""
    batch_size: int | None = None
    """The most images in one call; None for all at once."""
    timeout: float = _TIMEOUT
    """Seconds that one call may take."""
    offload_from: str | None = None
    """The device where an offloaded reward scores; its weights are on the CPU otherwise. None if
    the reward isn't offloaded, or the device is the CPU."""
    scale: float = 1.0
    """What the scores are multiplied by."""

    @property
    def name(self) -> str:
        return self.spec.name

    def applies(self, prompt: Prompt) -> bool:
        """Whether the prompt carries the declared metadata and comes from one of the sources."""
        return self.spec.applies(prompt, self.sources)


@dataclass(frozen=True)
class Column:
    """One reward's column of a table."""

    values: FloatArray
    """[B], zero where ``valid`` is false."""
    valid: BoolArray
    """[B], whether the image has a score."""
    fault: RewardFault | None = None


class Lane:
    """Scores images by one reward, one call at a time; failures are reported in the column.

    A call that takes too long goes on in its thread, because a thread can't be stopped, and its
    scores are lost. Until it returns, the scorer is busy: the next call waits for it up to the same
    time, and the calls after that fail at once.
    """

    def __init__(self, reward: ActiveReward) -> None:
        self._reward = reward
        self._thread = DaemonExecutor(f"reward-{reward.name}")
        self._late: Future[Any] | None = None
        self._patience_ends = 0.0
        self._place: str | None = "cpu"
        """The device of offloaded weights; None while they are moved, and if that failed."""
        self._absent: str | None = None

    def visit(self) -> None:
        """Move offloaded weights to where they score; if that fails, :meth:`score` reports it."""
        device = self._reward.offload_from
        if device is not None and self._place != device:
            self._absent = self._within_time(self._move, device)

    def score(self, images: Any, prompts: Sequence[Prompt], applies: BoolArray) -> Column:
        """Score those of the B images where ``applies`` [B] is true.

        ``images`` are in the layout that the reward declared.
        """
        rows = np.flatnonzero(applies)
        values, valid = np.zeros(len(prompts)), np.zeros(len(prompts), dtype=bool)
        size = self._reward.batch_size or max(len(rows), 1)
        calls = [rows[start : start + size] for start in range(0, len(rows), size)]
        failures: list[str] = []
        lost = bad = 0
        for call in calls:
            scores = self._absent or self._call(_batch(images, prompts, call.tolist()))
            if isinstance(scores, str):
                failures.append(scores)
                lost += len(call)
                continue
            scored = ~np.ma.getmaskarray(scores)
            good = scored & np.isfinite(scores.data)
            values[call], valid[call] = np.where(good, scores.data, 0.0), good
            bad += int((scored & ~good).sum())
        if not lost + bad:
            return Column(values, valid)
        message = _describe(failures, len(calls), bad, len(rows))
        return Column(values, valid, RewardFault(self._reward.name, message, lost + bad))

    def rest(self) -> RewardFault | None:
        """Move offloaded weights back to the CPU, unless a call that took too long still runs."""
        busy = self._late is not None and not self._late.done()
        if self._place == "cpu" or busy:
            return None
        message = self._within_time(self._move, "cpu")
        return RewardFault(self._reward.name, message, 0) if message else None

    def close(self, patience: float) -> None:
        """Wait up to ``patience`` seconds for a call that runs."""
        self._thread.close(patience)

    def _call(self, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any] | str:
        return self._within_time(partial(_scores, self._reward.scorer), batch)

    def _within_time(self, function: Callable[[_Given], _Got], argument: _Given) -> _Got | str:
        """What ``function(argument)`` returns; or one line that says why it failed."""
        timeout = self._reward.timeout
        if self._late is not None and not self._is_back(self._late):
            return f"still busy with a call that took more than {timeout:g} s (timeout)"
        self._late = None
        future = self._thread.submit(function, argument)
        try:
            error = future.exception(timeout)
        except TimeoutError:
            self._late, self._patience_ends = future, time.monotonic() + timeout
            return f"no answer within {timeout:g} s (timeout)"
        if error is not None:
            return describe_fault(error, self._reward.spec.build)
        return future.result()

    def _is_back(self, late: Future[Any]) -> bool:
        wait([late], max(self._patience_ends - time.monotonic(), 0.0))
        return late.done()

    def _move(self, device: str) -> None:
        if not isinstance(self._reward.scorer, MovableScorer):
            raise TypeError("the scorer can't be moved")
        self._place = None
        self._reward.scorer.to(device)
        self._place = device


def _describe(failures: Sequence[str], calls: int, bad: int, images: int) -> str:
    parts = []
    if failures:
        counted = f" ({len(failures)} of {calls} calls)" if calls > 1 else ""
        parts.append(failures[0] + counted)
    if bad:
        parts.append(f"{bad} of {images} values aren't finite")
    return "; ".join(parts)


def _batch(images: Any, prompts: Sequence[Prompt], rows: list[int]) -> RewardBatch:
    return RewardBatch(
        images=_select(images, rows),
        prompts=[prompts[row].text for row in rows],
        metadata=[prompts[row].metadata for row in rows],
    )


def _select(images: Any, rows: list[int]) -> Any:
    """Copies of the images, so that a scorer which changes them doesn't affect other rewards."""
    return [images[row].copy() for row in rows] if isinstance(images, list) else images[rows]


def _scores(scorer: Scorer, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any]:
    # In a new thread, gradients are enabled whatever the caller has set.
    with torch.no_grad():
        given: Any = scorer(batch)
    scores: NDArray[np.float64] = np.asarray(given, dtype=np.float64)
    if scores.shape != (len(batch.prompts),):
        raise ValueError(
            f"expected {len(batch.prompts)} values, got an array of shape {scores.shape}"
        )
    return np.ma.array(scores, mask=np.ma.getmaskarray(given) if np.ma.isMA(given) else False)
