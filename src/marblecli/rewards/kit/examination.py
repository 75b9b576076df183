"""All checks of one reward, in their order."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from marblecli.errors import MarbleError
from marblecli.plugins import one_line
from marblecli.rewards.daemon import DaemonExecutor
from marblecli.rewards.host import download_advice
from marblecli.rewards.hub import MissingFilesError
from marblecli.rewards.kit import checks, global_state
from marblecli.rewards.kit.checks import BrokenContractError
from marblecli.rewards.kit.memory import PeakMemory
from marblecli.rewards.kit.report import CheckResult, Report
from marblecli.rewards.kit.samples import Samples
from marblecli.rewards.kit.trial import Limits, Trial, call, make_batch
from marblecli.rewards.spec import RewardSpec, Scorer

CHECKS = (
    "declaration",
    "registration",
    "build",
    "scores",
    "build-state",
    *checks.ON_TRIAL,
    "time",
    "memory",
)
"""Names of all checks, in the order in which they are run."""

_NEEDED = ("declaration", "build", "scores")
"""If one of these fails, the checks after it can't be run."""


@dataclass(frozen=True)
class Subject:
    """The reward that is examined, and how."""

    spec: RewardSpec
    options: Any
    """An instance of the spec's ``options``."""
    samples: Samples
    device: str
    tolerance: float
    limits: Limits


class Examination:
    """Runs the checks in one thread of their own, as a run does; stops if a check never returns."""

    def __init__(self, subject: Subject, module: str) -> None:
        self._subject = subject
        self._module = module
        self._thread = DaemonExecutor("contract-kit")
        self._results: list[CheckResult] = []
        self._measured: dict[str, float] = {}
        self._stopped = ""
        self._memory_watch: PeakMemory | None = None
        self._used = (0.0, 0.0)

    def report(self) -> Report:
        """Run all checks; if there is no module that registers the reward, not ``registration``."""
        subject, prompts = self._subject, self._subject.samples.prompts
        self._check(
            "declaration", lambda: checks.declaration(subject.spec, subject.options, prompts)
        )
        if self._module:
            self._check("registration", self._register)
        self._check("build", self._build)
        self._check("scores", self._score)
        self._check("build-state", self._build_state)
        for name, function in checks.ON_TRIAL.items():
            self._check(name, partial(self._on_trial, function))
        self._check("time", self._time)
        self._check("memory", self._memory)
        self._stop_watching()
        self._thread.close(0.0)
        return Report(subject.spec.name, tuple(self._results), self._measured)

    def _check(self, name: str, function: Callable[[], str]) -> None:
        if self._stopped:
            self._results.append(CheckResult(name, "not run", self._stopped))
            return
        result = self._result(name, function)
        self._results.append(result)
        if result.status == "failed" and name in _NEEDED:
            self._stopped = f"{name} failed"

    def _result(self, name: str, function: Callable[[], str]) -> CheckResult:
        future = self._thread.submit(function)
        limit = self._subject.limits.answer_seconds
        try:
            error = future.exception(limit)
        except TimeoutError:
            self._stopped = f"{name} never answered"
            return CheckResult(name, "failed", f"no answer within {limit:g} s")
        if error is None:
            return CheckResult(name, "ok", future.result())
        # Errors for users say everything; other errors need the name of their type.
        told = isinstance(error, BrokenContractError | MarbleError)
        return CheckResult(name, "failed", str(error) if told else one_line(error))

    def _register(self) -> str:
        text, seconds = checks.registration(self._module, self._subject.limits)
        self._measured["registration_seconds"] = seconds
        return text

    def _build(self) -> str:
        self._before = global_state.take_state()
        self._memory_watch = PeakMemory(self._subject.device)
        scorer = self._built()
        self._after = global_state.take_state()
        if not callable(scorer):
            raise BrokenContractError(f"build returned {scorer!r}, which can't be called")
        self._scorer: Scorer = scorer
        return f"on {self._subject.device}"

    def _built(self) -> Any:
        spec, options = self._subject.spec, self._subject.options
        try:
            return spec.build(options, self._subject.device)
        except MissingFilesError as error:
            advice = download_advice(spec.name, options.model_dump(mode="json", exclude_unset=True))
            raise MarbleError(f"{error}; {advice}") from error

    def _stop_watching(self) -> None:
        if self._memory_watch is not None:
            self._used = self._memory_watch.stop()
            self._memory_watch = None

    def _build_state(self) -> str:
        changed = global_state.changes(self._before, self._after)
        if not changed or not all(map(global_state.is_variable, changed)):
            return checks.unchanged(changed, "building it")
        # Some libraries set variables when they are imported, which happens once. What building
        # itself sets is set again by a second build.
        global_state.restore_variables(self._before)
        before = global_state.take_state()
        self._built()
        again = global_state.changes(before, global_state.take_state())
        global_state.restore_variables(self._after)
        return checks.unchanged(again, "building it") + f", after imports set {len(changed)}"

    def _score(self) -> str:
        spec, samples, reads = self._subject.spec, self._subject.samples, set[str]()
        batch = make_batch(spec, samples, range(len(samples.prompts)), reads)
        before = global_state.take_state()
        first = call(self._scorer, batch)
        changed = global_state.changes(before, global_state.take_state())
        self._stop_watching()
        self._trial = Trial(
            spec=spec,
            scorer=self._scorer,
            samples=samples,
            tolerance=self._subject.tolerance,
            exact=self._subject.device == "cpu",
            limits=self._subject.limits,
            first=first,
            first_changed=tuple(changed),
            reads=reads,
        )
        return f"{len(batch.prompts)} images"

    def _on_trial(self, function: Callable[[Trial], str]) -> str:
        return function(self._trial)

    def _time(self) -> str:
        text, seconds = checks.seconds_per_image(self._trial)
        self._measured["seconds_per_image"] = seconds
        return text

    def _memory(self) -> str:
        text, megabytes = checks.memory(self._used, self._subject.limits)
        self._measured["memory_mb"] = megabytes
        return text
