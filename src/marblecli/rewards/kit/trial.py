"""Call a reward's scorer as a run does, to check what it returns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from marblecli.rewards.kit.recording import RecordingMetadata
from marblecli.rewards.kit.samples import Samples
from marblecli.rewards.score import convert
from marblecli.rewards.spec import RewardBatch, RewardSpec, Scorer
from marblecli.types import FloatArray

Scores = np.ma.MaskedArray[Any, np.dtype[np.float64]]


@dataclass(frozen=True)
class Limits:
    """How much time and memory a reward may take."""

    seconds_per_image: float = 10.0
    """In a call with all samples that isn't the first one."""
    memory_mb: float = 32_000.0
    """Highest resident memory while it is built and first scores, above what was in use before,
    in 10^6 bytes; sampled every 5 ms."""
    registration_seconds: float = 2.0
    """For importing and registering the plugin in a new process."""
    answer_seconds: float = 600.0
    """For one check; a reward that never answers fails it."""


@dataclass(frozen=True)
class Trial:
    """A loaded reward, and the samples that it is tried on."""

    spec: RewardSpec
    scorer: Scorer
    samples: Samples
    tolerance: float
    exact: bool
    """Whether the same call must give the same bits."""
    limits: Limits
    first: Any
    """What the scorer returned for all samples, unchanged."""
    first_changed: tuple[str, ...] = ()
    """Global state that the first call changed."""
    reads: set[str] = field(default_factory=set)
    """The names of metadata fields that the reward has asked for so far."""

    @property
    def scores(self) -> Scores:
        """[B], the scores of the first call; an image without score is masked."""
        return as_scores(self.first)

    def batch(self, rows: Sequence[int]) -> RewardBatch:
        """A new batch of the samples ``rows``."""
        return make_batch(self.spec, self.samples, rows, self.reads)

    def score(self, rows: Sequence[int]) -> Scores:
        """[len(rows)], the scores of a batch of the samples ``rows``."""
        return as_scores(call(self.scorer, self.batch(rows)))

    def rows(self) -> list[int]:
        """The numbers of all B samples."""
        return list(range(len(self.samples.prompts)))


def make_batch(
    spec: RewardSpec, samples: Samples, rows: Sequence[int], reads: set[str]
) -> RewardBatch:
    """The samples ``rows`` as a run gives them to a scorer; ``reads`` gets the fields it reads."""
    prompts = [samples.prompts[row] for row in rows]
    return RewardBatch(
        images=convert(samples.images[list(rows)], spec.images),
        prompts=[prompt.text for prompt in prompts],
        metadata=[RecordingMetadata(prompt.metadata, spec, reads) for prompt in prompts],
    )


def call(scorer: Scorer, batch: RewardBatch) -> Any:
    """Call the scorer as a run does: without gradients."""
    with torch.no_grad():
        return scorer(batch)


def as_scores(given: Any) -> Scores:
    """What a scorer returned, as float64 numbers; a mask is kept."""
    mask = np.ma.getmaskarray(given) if np.ma.isMA(given) else False
    return np.ma.array(np.asarray(given, dtype=np.float64), mask=mask)


def differences(wanted: Scores, got: Scores) -> FloatArray:
    """|wanted - got| / max(1, |wanted|) by element; infinite where only one of the two is a number.

    Raises ValueError if the shapes differ.
    """
    if wanted.shape != got.shape:
        raise ValueError(f"expected {len(wanted)} values, got an array of shape {got.shape}")
    one, two = wanted.filled(np.nan), got.filled(np.nan)
    with np.errstate(invalid="ignore"):
        apart = np.abs(one - two) / np.maximum(1.0, np.abs(one))
    same = (one == two) | (np.isnan(one) & np.isnan(two))
    return np.where(same, 0.0, np.where(np.isnan(apart), np.inf, apart))
