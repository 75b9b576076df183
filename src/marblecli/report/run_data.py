"""What a page shows of a run: everything that its directory holds, read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from marblecli.conflicts.findings import Findings
from marblecli.conflicts.record import ConflictRecord
from marblecli.report.gallery import Gallery
from marblecli.types import EvaluationRecord, Json


@dataclass(frozen=True)
class Conflicts:
    """The measured batches of a run, and what was found in them."""

    records: Sequence[ConflictRecord]
    """At least one."""
    findings: Findings


@dataclass(frozen=True)
class RunData:
    """A run as far as it can be read; what can't be is empty, and a line of ``missing`` says so."""

    title: str
    """The run directory, as the user named it."""
    recipe: Mapping[str, Json]
    """The recipe's tables."""
    recipe_text: str
    """The recipe's file."""
    environment: Mapping[str, Json]
    metrics: Sequence[Mapping[str, Json]]
    """The optimizer steps, as ``metrics.jsonl`` has them."""
    evaluations: Sequence[EvaluationRecord]
    conflicts: Conflicts | None
    galleries: Sequence[Gallery]
    missing: Sequence[str]
    """One line for each thing that isn't there or can't be read."""

    @property
    def rewards(self) -> tuple[str, ...]:
        """Every reward, in the recipe's order if there is a recipe."""
        of_metrics = (name for line in self.metrics for name in line.get("valid", {}))
        of_evaluations = (
            name for each in self.evaluations for means in each.means.values() for name in means
        )
        named = (*self.recipe.get("rewards", {}), *of_metrics, *of_evaluations)
        return tuple(dict.fromkeys(named))

    @property
    def steps_done(self) -> int:
        """The last optimizer step."""
        return max((line["step"] for line in self.metrics), default=0)

    @property
    def steps_planned(self) -> int | None:
        """The steps that the recipe asks for; None without a recipe."""
        found = self.recipe.get("training", {}).get("steps")
        return found if isinstance(found, int) else None

    @property
    def method(self) -> str | None:
        """The method of the run's last phase; None without a recipe."""
        found = self.recipe.get("balance", {}).get("method")
        return found if isinstance(found, str) else None
