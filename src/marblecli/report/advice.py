"""What a user can do about the conflicts that were found."""

from __future__ import annotations

from collections.abc import Sequence

from marblecli.conflicts.estimates import MIN_BATCHES
from marblecli.conflicts.findings import Findings
from marblecli.conflicts.verdict import Verdict
from marblecli.methods.host import discover_methods
from marblecli.report.sentences import listed


def advice(findings: Findings, method: str | None) -> str:
    """The next step, in one or two sentences; ``method`` is that of the step, if it is known."""
    verdict = findings.verdict("applied")
    if verdict.view is None or not verdict.cosines:
        return (
            "What to do: measure with training.gradients = contracted, or with "
            "measure.fresh_every above 0, and inspect again."
        )
    if verdict.batches < MIN_BATCHES:
        return (
            f"What to do: measure {MIN_BATCHES} batches or more. Train on, or probe the base model "
            "with marble inspect-conflicts RECIPE --batches N."
        )
    if verdict.conflicting:
        return " ".join(_against(findings, verdict, method))
    return _without_conflict(findings, verdict, method)


def _against(findings: Findings, verdict: Verdict, method: str | None) -> list[str]:
    """The step conflicts with a reward."""
    against = verdict.conflicting
    noisy = [name for name in against if findings.rewards[name].reliability.sign < 1]
    said = []
    if noisy:
        said.append(
            f"What to do: measure better first. The gradient of {listed(noisy)} is mostly noise "
            "(see split halves), and more prompts a step or larger groups make it clearer."
        )
        if _takes_priorities(method):
            said.append(f"If the conflict remains, {_favour(noisy)}.")
    elif _takes_priorities(method):
        said.append(f"What to do: {_favour(against)}.")
    else:
        said.append("What to do: try another method; --method NAME judges it on these batches.")
    free = _free_directions(findings, verdict)
    if free:
        verb = "has" if len(free) == 1 else "have"
        said.append(f"On the same data, {listed(free)} {verb} no significant conflict.")
    return said


def _without_conflict(findings: Findings, verdict: Verdict, method: str | None) -> str:
    names = {
        name
        for pair in findings.pairs
        if pair.verdict == "conflict"
        for name in (pair.first, pair.second)
    }
    if not names:
        return (
            "What to do: nothing has to change. More batches tell more of the cosines that are not "
            "significant."
        )
    text = "What to do: nothing has to change, because the step isn't known to harm a reward."
    if names <= set(verdict.agreeing):
        text = "What to do: nothing has to change, because the step serves both sides."
    if not _takes_priorities(method):
        return text
    return f"{text} To favour one of them, {_favour(sorted(names)[:1])}."


def _takes_priorities(method: str | None) -> bool:
    return method in [spec.name for spec in discover_methods().with_option("priorities")]


def _favour(names: Sequence[str]) -> str:
    return f"set balance.priorities.{names[0]} above 1"


def _free_directions(findings: Findings, verdict: Verdict) -> list[str]:
    """The other methods that were judged by the same evidence and conflict with no reward."""
    judged = {
        name: findings.verdict(name)
        for name in findings.views["batch"]
        if name not in ("applied", "update")
    }
    return [
        name
        for name, each in judged.items()
        if each.view == verdict.view and each.batches >= MIN_BATCHES and not each.conflicting
    ]
