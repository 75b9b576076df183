"""A whole run: evaluate the base model, make all steps, and evaluate along the way and at the end.

One step is: draw prompts -> sample (old policy) -> score -> advantages -> K gradients -> balance
(all these are in :mod:`marblecli.train.step`) -> update -> record.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from marblecli.conflicts.record import ConflictRecord
from marblecli.engine.processes import running_together
from marblecli.errors import InterruptedRunError, MarbleError
from marblecli.methods.schedule import MethodState
from marblecli.models.average import averaged_weights
from marblecli.train.evaluate import Evaluation, changes, evaluate, mean_over_valid
from marblecli.train.measure import Measurement
from marblecli.train.record import conflict_record
from marblecli.train.recorder import Recorder
from marblecli.train.step import Carried, FreshGradients, StepDirection, find_direction
from marblecli.train.step import fresh_gradients as measure_fresh
from marblecli.train.trainer import Trainer, restore, snapshot
from marblecli.train.update import apply_gradient
from marblecli.types import (
    Balance,
    EvaluationRecord,
    Json,
    RewardChange,
    RewardTable,
    Snapshot,
)


@dataclass(frozen=True)
class Progress:
    """What the loop passes from step to step, besides the trainer."""

    step: int = 0
    carried: Carried = field(default_factory=Carried)
    faults: int = 0


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, for the screen."""

    step: int
    seconds: float
    rewards: Mapping[str, float]
    """Each reward's mean over the step's images; rewards that applied to no image are left out."""
    cosines: Mapping[str, float]
    """Each reward's cosine with the stepped direction; empty if the batch wasn't measured."""
    faults: tuple[str, ...]
    notices: tuple[str, ...] = ()
    """One line for each change that was needed to go on, such as a smaller micro-batch."""


@dataclass(frozen=True)
class EvaluationReport:
    """One evaluation, for the screen."""

    step: int
    changes: Mapping[str, tuple[RewardChange, ...]]
    """By split, every reward's change since the base model; empty for the base model itself."""
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """The result of a finished run."""

    changes: Mapping[str, tuple[RewardChange, ...]]
    """By split, every reward's change since the base model."""


@dataclass(frozen=True)
class Callbacks:
    """Where the loop reports, and how to stop it."""

    recorder: Recorder
    on_step: Callable[[StepReport], None]
    on_evaluation: Callable[[EvaluationReport], None]
    should_stop: Callable[[], bool]


Evaluations = Mapping[str, Evaluation]
"""By split."""


@running_together()
def train(trainer: Trainer, callbacks: Callbacks, saved: Snapshot | None = None) -> Outcome:
    """Run the recipe from the start, or from ``saved``, to its last step.

    Raises:
        InterruptedRunError: ``should_stop`` returned true; the checkpoint has been saved.
        MarbleError: rewards or gradients failed too often, or an update isn't finite.
        LostProcessError: another process of the run has ended.

    """
    progress = Progress() if saved is None else _resume(trainer, saved)
    recipe, processes = trainer.sampler.recipe, trainer.sampler.processes
    base = _evaluate_base(trainer)
    if saved is None:
        _record_evaluation(trainer, callbacks, 0, base)
        callbacks.on_evaluation(EvaluationReport(0, {}, _faults(base)))
        if recipe.model.lora.init is not None:
            # The run starts from an adapter; the pictures of step 0 are the base's.
            start = _evaluate_trained(trainer)
            _record_evaluation(trainer, callbacks, 0, start, start=True)
            found = _changes(trainer, base, start)
            callbacks.on_evaluation(EvaluationReport(0, found, _faults(start)))
    trained: Evaluations | None = None
    steps = recipe.training.steps
    while progress.step < steps:
        progress, report = train_step(trainer, callbacks.recorder, progress)
        callbacks.on_step(report)
        interrupted = processes.agree(callbacks.should_stop()) and progress.step < steps
        # Everything about a step is written before its checkpoint, because a resumed run keeps what
        # was written up to the checkpoint.
        if _due(progress.step, recipe.eval.every, steps) and not interrupted:
            trained = _evaluate_trained(trainer)
            _record_evaluation(trainer, callbacks, progress.step, trained)
            found = _changes(trainer, base, trained)
            callbacks.on_evaluation(EvaluationReport(progress.step, found, _faults(trained)))
        if interrupted or _due(progress.step, recipe.checkpoint.every, steps):
            callbacks.recorder.checkpoint(snapshot(trainer, progress.step, _state(progress)))
        if interrupted:
            # The first process is writing. If another process ended before it, the launcher would
            # stop the first one.
            processes.wait()
            raise InterruptedRunError(f"interrupted; step {progress.step} is saved")
    if trained is None:
        trained = _evaluate_trained(trainer)
    return Outcome(_changes(trainer, base, trained))


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def train_step(
    trainer: Trainer, recorder: Recorder, progress: Progress
) -> tuple[Progress, StepReport]:
    """Make one optimizer step, and record it."""
    started = time.perf_counter()
    step = progress.step + 1
    found = find_direction(trainer.sampler, step, progress.carried)
    faults, cosines = list(found.faults), {}
    if found.measured is None:
        norm = apply_gradient(trainer, step, found.gradient)
    else:
        fresh = measure_fresh(trainer.sampler, step)
        faults += fresh.faults if fresh else ()
        norm, record = _recorded_update(trainer, step, found, found.measured, fresh)
        recorder.conflict(record)
        cosines = _named(record.rewards, record.cosines["applied"])
    total = _count_faults(trainer, step, progress.faults, faults)
    table = found.collected.table
    report = StepReport(
        step=step,
        seconds=time.perf_counter() - started,
        rewards=_named(table.names, tuple(mean_over_valid(table))),
        cosines=cosines,
        faults=tuple(faults),
        notices=trainer.sampler.micro_batch.take_notices(),
    )
    size = trainer.sampler.micro_batch.size
    recorder.step({**_metrics(table, report, found.balance, norm), "micro_batch_size": size})
    return Progress(step, found.carried, total), report


def _recorded_update(
    trainer: Trainer,
    step: int,
    found: StepDirection,
    measured: Measurement,
    fresh: FreshGradients | None,
) -> tuple[float, ConflictRecord]:
    """Make the update. Returns the gradient's norm, and the record of the batch and the update."""
    parameters = trainer.parameters()
    applied = found.filled(parameters)
    change = [parameter.detach().clone() for parameter in parameters]
    norm = apply_gradient(trainer, step, found.gradient)
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


def _named(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
    """Values by reward, without the rewards that have none."""
    pairs = zip(names, values, strict=True)
    return {name: float(v) for name, v in pairs if v is not None and np.isfinite(v)}


def _metrics(
    table: RewardTable, report: StepReport, balance: Balance, norm: float
) -> dict[str, Json]:
    return {
        "step": report.step,
        "seconds": round(report.seconds, 4),
        "rewards": dict(report.rewards),
        "valid": dict(zip(table.names, table.valid.sum(0).tolist(), strict=True)),
        "coefficients": dict(zip(table.names, balance.coefficients.tolist(), strict=True)),
        "gradient_norm": norm,
        "worst_cosine": min(report.cosines.values(), default=None),
        "faults": list(report.faults),
    }


def _evaluate_base(trainer: Trainer) -> Evaluations:
    sampler = trainer.sampler
    return {split: evaluate(sampler, "reference", split) for split in sampler.prompts.evaluation}


def _evaluate_trained(trainer: Trainer) -> Evaluations:
    """Evaluate the average of the trained weights."""
    sampler = trainer.sampler
    with averaged_weights(sampler.policies, trainer.average):
        return {split: evaluate(sampler, "trained", split) for split in sampler.prompts.evaluation}


def _faults(evaluations: Evaluations) -> tuple[str, ...]:
    return tuple(
        f"{split} prompts: {fault}"
        for split, evaluation in evaluations.items()
        for fault in evaluation.faults()
    )


def _changes(
    trainer: Trainer, base: Evaluations, trained: Evaluations
) -> dict[str, tuple[RewardChange, ...]]:
    seed = trainer.sampler.recipe.run.seed
    return {split: changes(base[split], trained[split], seed) for split in base}


def _record_evaluation(
    trainer: Trainer, callbacks: Callbacks, step: int, found: Evaluations, *, start: bool = False
) -> None:
    if not trainer.sampler.processes.first:
        return  # Only the first process has the images.
    record = EvaluationRecord(
        step=step,
        subject="trained" if step or start else "base",
        images={split: each.images() for split, each in found.items()},
        faults={split: each.table.faults for split, each in found.items()},
        seed=trainer.sampler.recipe.run.seed,
    )
    callbacks.recorder.evaluation(record)
    for split, each in () if start else found.items():
        callbacks.recorder.samples(step, split, each.rollout.prompts, each.rollout.images)


def _state(progress: Progress) -> dict[str, Json]:
    balance = progress.carried.balance
    return {
        "faults": progress.faults,
        "balance_state": progress.carried.state.to_json(),
        "balance": None
        if balance is None
        else {
            "simplex_weights": balance.simplex_weights.tolist(),
            "coefficients": balance.coefficients.tolist(),
            "kkt_residual": balance.kkt_residual,
        },
    }


def _resume(trainer: Trainer, saved: Snapshot) -> Progress:
    restore(trainer, saved)
    stored = saved.state["balance"]
    balance = stored and Balance(
        simplex_weights=np.array(stored["simplex_weights"]),
        coefficients=np.array(stored["coefficients"]),
        kkt_residual=stored["kkt_residual"],
    )
    rewards = tuple(trainer.sampler.recipe.rewards)
    state = MethodState.from_json(saved.state["balance_state"], rewards)
    return Progress(saved.step, Carried(balance, state), saved.state["faults"])
