"""Which pairs of rewards conflict, over the batches of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from marblecli.conflicts.columns import gradient_cosines, named_half_cosines, reward_names
from marblecli.conflicts.estimates import Estimate, estimate_means, shared_signal
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.summaries import conflicts

PairVerdict = Literal["conflict", "agreement", "not significant", "not measured"]


@dataclass(frozen=True)
class PairSummary:
    """How two rewards' gradients stand to each other, over the batches that have both."""

    first: str
    second: str
    batches: int
    cosine: Estimate
    """The mean of what single batches show, which noise pulls to zero."""
    conflict_share: Estimate
    """The share of batches with a negative cosine between the two."""
    corrected: Estimate
    """The cosine without noise: see :func:`marblecli.conflicts.estimates.shared_signal`."""
    verdict: PairVerdict


def pairs_of(records: Sequence[ConflictRecord]) -> tuple[PairSummary, ...]:
    """Every unordered pair of rewards, the surest conflict first."""
    names = reward_names(records)
    single = np.stack([gradient_cosines(record, names) for record in records])
    halves = np.stack([named_half_cosines(record, names) for record in records])
    shared = shared_signal(halves)
    pairs = []
    for k, el in combinations(range(len(names)), 2):
        cosines = single[:, k, el]
        cosine, share = estimate_means(np.column_stack([cosines, conflicts(cosines)]))
        corrected = shared.corrected[k][el]
        measured = not np.isnan(halves[:, k, el]).all()
        pairs.append(
            PairSummary(
                names[k],
                names[el],
                batches=int((~np.isnan(cosines)).sum()),
                cosine=cosine,
                conflict_share=share,
                corrected=corrected,
                verdict=_VERDICTS[corrected.sign] if measured else "not measured",
            )
        )
    return tuple(sorted(pairs, key=_by_conflict))


_VERDICTS: Mapping[int, PairVerdict] = {-1: "conflict", 0: "not significant", 1: "agreement"}


def _by_conflict(pair: PairSummary) -> tuple[float, float]:
    """Significant pairs by corrected cosine, the inconclusive ones between them."""
    corrected = pair.corrected.value if pair.corrected.sign else 0.0
    return (corrected, float(np.nan_to_num(pair.cosine.value, nan=2.0)))
