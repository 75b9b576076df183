"""What a run did, in one sentence: what rose, what fell, and what conflicted."""

from __future__ import annotations

import math
from collections.abc import Sequence

from marblecli.conflicts.pairs import PairSummary
from marblecli.report.cells import signed
from marblecli.report.sentences import counted, listed
from marblecli.types import RewardChange

_NAMED_PAIRS = 3
"""The most pairs of rewards that the sentence names."""


def run_verdict(
    step: int, changes: Sequence[RewardChange], pairs: Sequence[PairSummary], where: str
) -> str:
    """The sentence about the ``changes`` of all rewards at ``step``, on the prompts ``where``.

    A reward rose or fell where the 95 % interval of its change is on one side of zero. ``pairs``
    are those of rewards; empty if none was measured.
    """
    conflict = _conflict_clause(pairs)
    if not changes:
        nothing = "No reward's change is known, because the base model and the trained weights "
        return f"{nothing}weren't both evaluated; {conflict}."
    if all(math.isnan(change.low) for change in changes):
        up = sum(change.end > change.start for change in changes)
        return (
            f"After {counted(step, 'step', 'steps')}, the means of {up} of "
            f"{counted(len(changes), 'reward', 'rewards')} are higher than the base model's on "
            f"{where} prompts, but whether that is significant isn't known, because the "
            f"evaluations have no intervals; {conflict}."
        )
    clauses = [
        _clause([change for change in changes if change.low > 0.0], "rose"),
        _clause([change for change in changes if change.high < 0.0], "fell"),
    ]
    told = [clause for clause in clauses if clause]
    moved = listed(told) if told else "no reward changed significantly"
    open_ones = [change for change in changes if not (change.low > 0.0 or change.high < 0.0)]
    rest = ""
    if open_ones and told:
        verb = "was" if len(open_ones) == 1 else "were"
        rest = (
            f", while the {_changes(len(open_ones))} of {_names(open_ones)} {verb} not significant"
        )
    return f"After {counted(step, 'step', 'steps')}, {moved} on {where} prompts{rest}; {conflict}."


def comparison_verdict(first: str, second: str, changes: Sequence[RewardChange], where: str) -> str:
    """How the run ``second`` ended against the run ``first``, from the paired ``changes``."""
    above = _clause([change for change in changes if change.low > 0.0], "")
    below = _clause([change for change in changes if change.high < 0.0], "")
    told = [
        f"{word} {first} in {named}"
        for word, named in (("above", above), ("below", below))
        if named
    ]
    images = f"on the same {where} prompts and noise"
    if not told:
        return f"{second} doesn't differ significantly from {first} in any reward {images}."
    return f"{second} is {listed(told)} {images}."


def _clause(changes: Sequence[RewardChange], verb: str) -> str:
    named = [f"{change.reward} ({signed(change.end - change.start)})" for change in changes]
    return f"{listed(named)} {verb}".strip() if named else ""


def _changes(count: int) -> str:
    return "change" if count == 1 else "changes"


def _names(changes: Sequence[RewardChange]) -> str:
    return listed([change.reward for change in changes])


def _conflict_clause(pairs: Sequence[PairSummary]) -> str:
    if not pairs:
        return "conflicts between rewards weren't measured"
    conflicting = [pair for pair in pairs if pair.verdict == "conflict"]
    total = counted(len(pairs), "pair", "pairs")
    if not conflicting:
        return f"none of the {total} of rewards is in significant conflict"
    named = listed([f"{pair.first} with {pair.second}" for pair in conflicting[:_NAMED_PAIRS]])
    more = " among them" if len(conflicting) > _NAMED_PAIRS else ""
    verb = "conflicts" if len(conflicting) == 1 else "conflict"
    return f"{len(conflicting)} of {total} of rewards {verb} ({named}{more})"
