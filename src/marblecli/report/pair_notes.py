"""Why single batches and the verdict on a pair of rewards say different things."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.conflicts.pairs import PairSummary
from marblecli.report.sentences import listed, pairs_sentence

_NAMED = 3
"""The most pairs that a note names."""


def pair_notes(pairs: Sequence[PairSummary]) -> tuple[str, ...]:
    """How many pairs conflict; then why some have opposite signs or an unconfirmed conflict."""
    opposite = [pair for pair in pairs if _differs(pair)]
    unconfirmed = [
        pair for pair in pairs if pair.cosine.sign < 0 and pair.verdict == "not significant"
    ]
    found = [pairs_sentence(pairs)] if pairs else []
    if opposite:
        found.append(
            f"Single batches and the verdict differ in sign for {named_pairs(opposite)}. Both "
            "rewards score the same images, so in one batch their gradients share the noise of "
            "these images. The verdict compares gradients of different prompts, which don't."
        )
    if unconfirmed:
        found.append(
            f"Single batches are below 0 for {named_pairs(unconfirmed)}, and the verdict doesn't "
            "confirm it: the rewards judge these images differently, and it isn't known whether "
            "that lasts from prompt to prompt."
        )
    return tuple(found)


def named_pairs(pairs: Sequence[PairSummary]) -> str:
    """``a with b, c with d and 2 more pairs``."""
    named = [f"{pair.first} with {pair.second}" for pair in pairs[:_NAMED]]
    more = len(pairs) - len(named)
    if more:
        named.append(f"{more} more {'pair' if more == 1 else 'pairs'}")
    return listed(named)


def _differs(pair: PairSummary) -> bool:
    sign = pair.corrected.sign
    return sign != 0 and pair.cosine.value * sign < 0.0
