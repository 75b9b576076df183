"""A whole run: evaluate the base model, make all steps, and evaluate along the way and at the end.

One step is: draw prompts -> sample (old policy) -> score -> advantages -> K gradients -> balance
(all these are in :mod:`marblecli.train.step`) -> update -> record.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Literal

from marblecli.conflicts.record import ConflictRecord
from marblecli.engine.processes import running_together
from marblecli.errors import InterruptedRunError, MarbleError, StopRequestedError
from marblecli.models.average import averaged_weights
from marblecli.progress import check, labelled, stopping_when
from marblecli.train.evaluate import (
    Evaluation,
    changes,
    evaluate,
    from_record,
    mean_over_valid,
    to_record,
)
from marblecli.train.measure import Measurement
from marblecli.train.record import conflict_record, named, step_metrics
from marblecli.train.recorder import Callbacks, EvaluationReport, Outcome, Recorder, StepReport
from marblecli.train.step import Carried, FreshGradients, StepDirection, find_direction
from marblecli.train.step import fresh_gradients as measure_fresh
from marblecli.train.trainer import Trainer, restore, snapshot
from marblecli.train.update import apply_gradient
from marblecli.types import EvaluationRecord, Json, RewardChange, Snapshot


@dataclass(frozen=True)
class Progress:
    """What the loop passes from step to step, besides the trainer."""

    step: int = 0
    carried: Carried = field(default_factory=Carried)
    faults: int = 0

    @property
    def state(self) -> dict[str, Json]:
        """What a checkpoint keeps of it."""
        return {"faults": self.faults, **self.carried.to_json()}


Evaluations = Mapping[str, Evaluation]
"""By split."""
Subject = Literal["base", "trained"]
"""What is evaluated: the reference, or the average of the trained weights."""


@running_together()
def train(
    trainer: Trainer,
    callbacks: Callbacks,
    saved: Snapshot | None = None,
    earlier: Sequence[EvaluationRecord] = (),
) -> Outcome:
    """Run the recipe from the start, or from ``saved``, to its last step.

    ``earlier`` are evaluations that were made with the same settings; they aren't made again.

    Raises:
        InterruptedRunError: ``should_stop`` returned true; the last whole step has been saved.
        MarbleError: rewards or gradients failed too often, or an update isn't finite.
        LostProcessError: another process of the run has ended.

    """
    progress = Progress() if saved is None else _resume(trainer, saved)
    kept = progress.step
    recipe, processes = trainer.sampler.recipe, trainer.sampler.processes
    evaluator = _Evaluator(trainer, callbacks, earlier)
    steps = recipe.training.steps
    try:
        with stopping_when(callbacks.should_stop, alone=processes.count == 1):
            evaluator.base()
            if not progress.step and recipe.model.lora.init is not None:
                evaluator.start()
            if progress.step and _due(progress.step, recipe.eval.every, steps):
                evaluator.trained(progress.step)
            while progress.step < steps:
                progress, report = train_step(trainer, callbacks.recorder, progress)
                callbacks.on_step(report)
                check(processes.agree)
                # Everything about a step is written before its checkpoint, because a resumed run
                # keeps what was written up to the checkpoint.
                if _due(progress.step, recipe.eval.every, steps):
                    evaluator.trained(progress.step)
                if _due(progress.step, recipe.checkpoint.every, steps):
                    callbacks.recorder.checkpoint(snapshot(trainer, progress.step, progress.state))
                    kept = progress.step
    except StopRequestedError:
        # A step that was begun has changed nothing yet, so this is the state after the last one.
        if progress.step > kept:
            callbacks.recorder.checkpoint(snapshot(trainer, progress.step, progress.state))
        # The first process is writing. If another process ended before it, the launcher would stop
        # the first one.
        processes.wait()
        raise InterruptedRunError(_interrupted(progress.step)) from None
    return Outcome(evaluator.last)


def _interrupted(step: int) -> str:
    done = f"step {step} is saved" if step else "no step was finished, so none is saved"
    return f"interrupted; {done}"


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def train_step(
    trainer: Trainer, recorder: Recorder, progress: Progress
) -> tuple[Progress, StepReport]:
    """Make one optimizer step, and record it."""
    started = time.perf_counter()
    step = progress.step + 1
    trainer.sampler.policies.passes.take()  # Only those of the step itself count.
    found = find_direction(trainer.sampler, step, progress.carried)
    passes = trainer.sampler.policies.passes.take()
    faults, cosines = list(found.faults), {}
    phases = trainer.sampler.phases
    if found.measured is None:
        with phases.phase("update"):
            norm = apply_gradient(trainer, step, found.gradient)
    else:
        fresh = measure_fresh(trainer.sampler, step)
        faults += fresh.faults if fresh else ()
        with phases.phase("update"):
            norm, record = _recorded_update(trainer, step, found, found.measured, fresh)
        recorder.conflict(record)
        cosines = named(record.rewards, record.cosines["applied"])
    total = _count_faults(trainer, step, progress.faults, faults)
    table = found.collected.table
    report = StepReport(
        step=step,
        seconds=time.perf_counter() - started,
        rewards=named(table.names, tuple(mean_over_valid(table))),
        cosines=cosines,
        faults=tuple(faults),
        notices=_notices(trainer, found),
        constant_groups=found.rows.constant_groups,
    )
    more = {
        "rows": asdict(found.rows),
        "micro_batch_size": trainer.sampler.micro_batch.size,
        "phases": phases.take(),
        "passes": passes,
        "stepped": not found.cancelled,
    }
    recorder.step({**step_metrics(table, report, found.balance, norm), **more})
    return Progress(step, found.carried, total), report


def _notices(trainer: Trainer, found: StepDirection) -> tuple[str, ...]:
    memory = trainer.sampler.gradient_memory
    remembered = () if memory is None else memory.take_notices()
    return (*remembered, *trainer.sampler.micro_batch.take_notices(), *found.notices)


def _recorded_update(
    trainer: Trainer,
    step: int,
    found: StepDirection,
    measured: Measurement,
    fresh: FreshGradients | None,
) -> tuple[float, ConflictRecord]:
    """Make the update, if there is a direction; its norm, and the record of batch and update."""
    parameters = trainer.parameters()
    applied = found.filled(parameters)
    change = [parameter.detach().clone() for parameter in parameters]
    norm = 0.0 if found.cancelled else apply_gradient(trainer, step, found.gradient)
    # Not earlier: a step that is interrupted leaves everything as it was.
    measured.keep()
    for old, new in zip(change, parameters, strict=True):
        old.sub_(new.detach())
    # Clipping has changed the length of the applied gradient, on which no cosine depends.
    directions = {"applied": applied, "update": change}
    gradients = None if fresh is None else fresh.gradients
    return norm, conflict_record(
        step, measured, directions, trainer.sampler.reduction.products, gradients
    )


def _count_faults(trainer: Trainer, step: int, earlier: int, faults: Sequence[str]) -> int:
    limit = trainer.sampler.recipe.training.max_faults
    if earlier + len(faults) > limit:
        raise MarbleError(
            f"step {step}: more than {limit} faults (training.max_faults), the last: {faults[-1]}"
        )
    return earlier + len(faults)


class _Evaluator:
    """Evaluates, reports what it finds, and doesn't evaluate again what is on record."""

    def __init__(
        self, trainer: Trainer, callbacks: Callbacks, known: Sequence[EvaluationRecord]
    ) -> None:
        self._trainer = trainer
        self._callbacks = callbacks
        self._known = {(record.step, record.subject): record for record in known}
        self._base: Evaluations = {}
        self.last: Mapping[str, tuple[RewardChange, ...]] = {}
        """By split, every reward's change from the base model to the last evaluation."""

    def base(self) -> None:
        """Evaluate the base model."""
        self._base = self._at(0, "base")

    def start(self) -> None:
        """Evaluate the adapter that the run starts from."""
        self._at(0, "trained")

    def trained(self, step: int) -> None:
        """Evaluate the average of the trained weights after ``step``."""
        with averaged_weights(self._trainer.sampler.policies, self._trainer.average):
            self._at(step, "trained")

    def _at(self, step: int, subject: Subject) -> Evaluations:
        found = self._on_record(step, subject)
        seconds = None
        if found is None:
            started = time.perf_counter()
            found = self._evaluate(subject)
            seconds = time.perf_counter() - started
        if subject == "trained":
            seed = self._trainer.sampler.recipe.run.seed
            self.last = {split: changes(self._base[split], found[split], seed) for split in found}
        if seconds is not None:
            self._report(step, subject, found, seconds)
        return found

    def _on_record(self, step: int, subject: Subject) -> Evaluations | None:
        prompts = self._trainer.sampler.prompts.evaluation
        record = self._known.get((step, subject))
        if record is None:
            return None
        found = {split: from_record(record, split, mine) for split, mine in prompts.items()}
        whole = {split: each for split, each in found.items() if each is not None}
        return whole if len(whole) == len(prompts) else None

    def _evaluate(self, subject: Subject) -> Evaluations:
        sampler, found = self._trainer.sampler, {}
        for split in sampler.prompts.evaluation:
            with labelled(f"{subject} on {split} prompts"):
                found[split] = evaluate(
                    sampler, "reference" if subject == "base" else "trained", split
                )
        return found

    def _report(
        self, step: int, subject: Subject, evaluations: Evaluations, seconds: float
    ) -> None:
        faults = tuple(
            f"{split} prompts: {fault}"
            for split, evaluation in evaluations.items()
            for fault in evaluation.faults()
        )
        found = {} if subject == "base" else self.last
        # Only the first process has the images.
        if self._trainer.sampler.processes.first:
            self._record(step, subject, evaluations, seconds)
            if found:
                self._callbacks.recorder.changes(step, found)
        self._callbacks.on_evaluation(EvaluationReport(step, found, faults, seconds))

    def _record(
        self, step: int, subject: Subject, evaluations: Evaluations, seconds: float
    ) -> None:
        seed = self._trainer.sampler.recipe.run.seed
        record = to_record(step, subject, evaluations, seed, seconds)
        recorder = self._callbacks.recorder
        recorder.evaluation(record)
        if step == 0 and subject == "trained":
            return  # The pictures of step 0 are the base's.
        images = {split: each.rollout.images for split, each in evaluations.items()}
        recorder.samples(record, images)


def _resume(trainer: Trainer, saved: Snapshot) -> Progress:
    restore(trainer, saved)
    rewards = tuple(trainer.sampler.recipe.rewards)
    carried = Carried.from_json(saved.state, rewards)
    return Progress(saved.step, carried, saved.state["faults"])
