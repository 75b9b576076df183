"""What the findings mean, in sentences: the verdict, and what a reader must keep in mind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from marblecli.conflicts.estimates import MIN_BATCHES, Estimate
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.pairs import PairSummary, PairVerdict
from marblecli.conflicts.record import ConflictRecord
from marblecli.conflicts.verdict import Evidence, Verdict
from marblecli.report.cells import cosine

EVIDENCE_NAMES: Mapping[Evidence, str] = {
    "fresh-signal": "fresh images",
    "held-out": "held-out halves",
}
"""What people call the views that a verdict rests on."""
_NAMED_PAIRS = 3
"""The most pairs that a sentence names."""


def verdict_sentences(verdict: Verdict, subject: str) -> list[str]:
    """Whether the direction conflicts with a reward, with which, and how sure it is.

    ``subject`` is what the sentences call the direction.
    """
    if verdict.view is None or not verdict.cosines:
        return [
            f"It is not known whether {subject} conflicts with a reward: no batch was measured on "
            "data that it wasn't solved on."
        ]
    place = f"the {EVIDENCE_NAMES[verdict.view]} of {counted(verdict.batches, 'batch', 'batches')}"
    where = f"On data that it wasn't solved on ({place}), {subject}"
    if verdict.batches < MIN_BATCHES:
        return [
            f"{where} can't be judged: {MIN_BATCHES} batches are the least for an interval, and "
            "without an interval nothing is significant."
        ]
    if verdict.conflicting:
        named = [_with_cosine(name, verdict.cosines[name]) for name in verdict.conflicting]
        first = f"{where} conflicts with {listed(named)}."
    else:
        lowest, estimate = next(iter(verdict.cosines.items()))
        first = (
            f"{where} has no significant conflict with any reward: the lowest mean cosine is that "
            f"with {_with_cosine(lowest, estimate)}."
        )
    rest = []
    if verdict.agreeing:
        rest.append(f"It agrees with {listed(verdict.agreeing)}.")
    if verdict.not_significant:
        rest.append(f"Its cosine is not significant for {listed(verdict.not_significant)}.")
    return [first, " ".join(rest)] if rest else [first]


def pairs_sentence(pairs: Sequence[PairSummary]) -> str:
    """How many pairs of rewards conflict, and which."""
    counts = Counter(pair.verdict for pair in pairs)
    clauses = [
        _clause(counts, pairs, "conflict", "conflicts", "conflict"),
        _clause(counts, pairs, "agreement", "agrees", "agree"),
        _clause(counts, pairs, "not significant", "is not significant", "are not significant"),
        _clause(counts, pairs, "not measured", "was not measured", "were not measured"),
    ]
    total = "the only pair" if len(pairs) == 1 else f"the {len(pairs)} pairs"
    return f"Of {total} of rewards, {listed([clause for clause in clauses if clause])}."


def measured_sentence(title: str, records: Sequence[ConflictRecord], method: str | None) -> str:
    """What was measured; ``method`` is that of the applied direction, if it is known."""
    steps = sorted(record.step for record in records)
    halves = sum(record.parts is not None for record in records)
    fresh = sum(record.fresh is not None for record in records)
    gaps = ""
    if len(steps) <= steps[-1] - steps[0]:
        gaps = "; the steps between them reuse coefficients"
    step = "the step" if method is None else f"the step, by the method {method}"
    update = ", and update is what AdamW made of it"
    made = update if any("update" in record.cosines for record in records) else ""
    return (
        f"{title}: {counted(len(records), 'measured batch', 'measured batches')} "
        f"(steps {steps[0]} to {steps[-1]}{gaps}), {halves} of them in halves and {fresh} with "
        f"fresh images. In the tables, applied is {step}{made}."
    )


def notes(records: Sequence[ConflictRecord], findings: Findings) -> list[str]:
    """What to keep in mind when reading the tables."""
    found = []
    if len(records) < MIN_BATCHES:
        found.append(
            f"There are fewer than {MIN_BATCHES} batches, so there are no intervals and nothing is "
            "significant."
        )
    halves = any(record.parts for record in records)
    of_levels = any(record.parts and record.halves == "levels" for record in records)
    unsure = [name for name, facts in findings.rewards.items() if facts.reliability.sign < 1]
    if halves and unsure:
        found.append(
            f"Gradients from different {'noise levels' if of_levels else 'prompts'} agree no more "
            f"than noise would for {listed(unsure)} (column split halves). More batches would tell "
            "more, and so would more prompts a step and larger groups."
        )
    found.append(_caution(halves, of_levels))
    if halves or any(record.fresh for record in records):
        found.append(
            "Each interval is that of one cosine: where there are many, one that only just "
            "excludes 0 is weak evidence."
        )
    found.append("? marks a cosine whose 95 % interval over batches includes 0, or that has none.")
    found.append(
        "By chance is the share of batches in conflict if gradients had nothing in common: a share "
        "near it tells nothing."
    )
    return found


def images_note(without_images: Sequence[str]) -> tuple[str, ...]:
    """Which rewards scored nothing, and why that may be; empty if every reward scored."""
    if not without_images:
        return ()
    return (
        f"{listed(without_images)} scored no image of any batch: the reward failed, or it applies "
        "to none of the prompts.",
    )


def listed(items: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = items
    return f"{', '.join(others)} and {last}" if others else last


def counted(count: int, singular: str, plural: str) -> str:
    """``1 batch``, ``2 batches``."""
    return f"{count} {singular if count == 1 else plural}"


def _caution(halves: bool, of_levels: bool) -> str:
    caution = (
        "On the batch that it was solved on, marble conflicts with no reward by theorem, so zero "
        "conflict there is no evidence. "
    )
    if of_levels:
        return caution + (
            "Held-out halves are weak evidence here: both have the same images, at different noise "
            "levels (measure.halves), so the accidents of which images were sampled count as "
            "signal. Fresh images are better evidence."
        )
    if halves:
        return caution + (
            "Held-out halves are evidence: a direction is solved on one half of a batch's prompts "
            "and judged by the signal of the other half."
        )
    return caution + (
        "These records hold nothing else: train with training.gradients = contracted for held-out "
        "halves, and with measure.fresh_every above 0 for fresh images."
    )


def _with_cosine(name: str, estimate: Estimate) -> str:
    return (
        f"{name} (mean cosine {cosine(estimate.value)}, 95 % interval {estimate.low:+.2f} to "
        f"{estimate.high:+.2f})"
    )


def _clause(
    counts: Mapping[PairVerdict, int],
    pairs: Sequence[PairSummary],
    verdict: PairVerdict,
    singular: str,
    plural: str,
) -> str:
    """``1 conflicts (a with b)``; empty for no pair."""
    count = counts.get(verdict, 0)
    if not count:
        return ""
    clause = f"{count} {singular if count == 1 else plural}"
    if verdict != "conflict" or count > _NAMED_PAIRS:
        return clause
    named = [f"{pair.first} with {pair.second}" for pair in pairs if pair.verdict == verdict]
    return f"{clause} ({', '.join(named)})"
