"""The results of the contract kit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from marblecli.types import Json

Status = Literal["ok", "failed", "not run"]


@dataclass(frozen=True)
class CheckResult:
    """One check of the contract."""

    name: str
    status: Status
    detail: str
    """What was measured, or why it failed or couldn't be run."""

    def raise_if_failed(self) -> None:
        """Raise AssertionError unless the check was run and held."""
        if self.status != "ok":
            raise AssertionError(f"{self.name}: {self.status}: {self.detail}")


@dataclass(frozen=True)
class Report:
    """All checks of one reward, in order."""

    reward: str
    results: tuple[CheckResult, ...]
    measured: Mapping[str, float]
    """``seconds_per_image``, ``memory_mb`` and ``registration_seconds``, if they were measured."""

    @property
    def ok(self) -> bool:
        """Whether no check failed, and all were run."""
        return all(result.status == "ok" for result in self.results)

    def __getitem__(self, name: str) -> CheckResult:
        """The result of one of ``CHECKS``."""
        return {result.name: result for result in self.results}[name]

    def raise_if_failed(self) -> None:
        """Raise AssertionError, with a line for each failed check, unless all checks held."""
        wrong = [result for result in self.results if result.status != "ok"]
        if wrong:
            lines = [f"{result.name}: {result.status}: {result.detail}" for result in wrong]
            raise AssertionError("\n".join([f"reward {self.reward!r} breaks its contract", *lines]))

    def to_json(self) -> dict[str, Json]:
        """The report as one JSON document."""
        return {
            "reward": self.reward,
            "ok": self.ok,
            "checks": [
                {"name": one.name, "status": one.status, "detail": one.detail}
                for one in self.results
            ],
            "measured": dict(self.measured),
        }
