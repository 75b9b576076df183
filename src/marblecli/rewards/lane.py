"""One reward at work: its images in calls of its size, within its time, on its device."""

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

from marblecli.plugins import one_line
from marblecli.rewards.daemon import DaemonExecutor
from marblecli.rewards.spec import MovableScorer, RewardBatch, RewardSpec, Scorer
from marblecli.settings import RewardSettings
from marblecli.types import BoolArray, FloatArray, Prompt, RewardFault

_Given = TypeVar("_Given")
_Got = TypeVar("_Got")

_TIMEOUT: float = RewardSettings.model_fields["timeout"].default


@dataclass(frozen=True)
class ActiveReward:
    """A reward with its scorer built."""

    spec: RewardSpec
    scorer: Scorer
    sources: tuple[str, ...] | None = None
    """Prompt sources that it is limited to, or None for all."""
    batch_size: int | None = None
    """Images of one call, or None for all at once."""
    timeout: float = _TIMEOUT
    """Seconds of one call."""
    offload_from: str | None = None
    """The device that its weights visit only to score, and leave for the CPU; None if they stay
    where they are."""

    @property
    def name(self) -> str:
        return self.spec.name

    def applies(self, prompt: Prompt) -> bool:
        """Whether the prompt carries the declared metadata and comes from one of the sources."""
        return self.spec.applies(prompt, self.sources)


@dataclass(frozen=True)
class Column:
    """One reward's part of a table."""

    values: FloatArray
    """[B], zero where ``valid`` is false."""
    valid: BoolArray
    """[B]"""
    fault: RewardFault | None = None


class Lane:
    """Scores one reward's images, one call at a time; what goes wrong is in the column.

    A call that takes too long is left behind, since a thread can't be stopped. The scorer is busy
    until it returns: the next call waits for it as long again, the ones after that don't.
    """

    def __init__(self, reward: ActiveReward) -> None:
        self._reward = reward
        self._thread = DaemonExecutor(f"reward-{reward.name}")
        self._late: Future[Any] | None = None
        self._patience_ends = 0.0
        self._place: str | None = "cpu"
        """Of offloaded weights; None while they are on their way, or got stuck there."""
        self._absent: str | None = None

    def visit(self) -> None:
        """Bring offloaded weights to where they score; what fails is told by :meth:`score`."""
        device = self._reward.offload_from
        if device is not None and self._place != device:
            self._absent = self._within_time(self._move, device)

    def score(self, images: Any, prompts: Sequence[Prompt], applies: BoolArray) -> Column:
        """Score the B images where ``applies`` [B]; ``images`` are in the declared layout."""
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
        """Bring offloaded weights back to the CPU; those of a call left behind stay for now."""
        busy = self._late is not None and not self._late.done()
        if self._place == "cpu" or busy:
            return None
        message = self._within_time(self._move, "cpu")
        return RewardFault(self._reward.name, message, 0) if message else None

    def close(self, patience: float) -> None:
        """Give a call that runs ``patience`` seconds, then leave it."""
        self._thread.close(patience)

    def _call(self, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any] | str:
        return self._within_time(partial(_scores, self._reward.scorer), batch)

    def _within_time(self, function: Callable[[_Given], _Got], argument: _Given) -> _Got | str:
        """What the function returns, or why it doesn't in a line."""
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
            return one_line(error)
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
    """Copies, so that what a scorer does to its images reaches no other reward."""
    return [images[row].copy() for row in rows] if isinstance(images, list) else images[rows]


def _scores(scorer: Scorer, batch: RewardBatch) -> np.ma.MaskedArray[Any, Any]:
    # A worker thread starts with gradients on, whatever the caller's mode.
    with torch.no_grad():
        given: Any = scorer(batch)
    scores: NDArray[np.float64] = np.asarray(given, dtype=np.float64)
    if scores.shape != (len(batch.prompts),):
        raise ValueError(
            f"expected {len(batch.prompts)} values, got an array of shape {scores.shape}"
        )
    return np.ma.array(scores, mask=np.ma.getmaskarray(given) if np.ma.isMA(given) else False)
