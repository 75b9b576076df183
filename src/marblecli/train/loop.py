"""The story of a run, top to bottom.

draw prompts -> sample (old policy) -> score -> advantages -> K gradients -> balance -> step.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from marblecli.engine.processes import running_together
from marblecli.errors import InterruptedRunError, MarbleError
from marblecli.maths.nft import old_policy_decay
from marblecli.methods.balance import BalanceState, method_at
from marblecli.train.batch import TrainingBatch
from marblecli.train.batch_gradients import batch_gradients, fresh_gradients
from marblecli.train.collect import collect, loss_settings, training_batch
from marblecli.train.evaluate import Evaluation, Subject, changes, evaluate, mean_over_valid
from marblecli.train.gradients import (
    RewardGradients,
    amortised_backward,
    published_backward,
)
from marblecli.train.measure import (
    BalancePlan,
    Measurement,
    conflict_record,
    gradient_faults,
    measure,
)
from marblecli.train.session import Session, restore, snapshot
from marblecli.types import (
    Balance,
    ConflictRecord,
    FloatArray,
    Json,
    Recorder,
    RewardChange,
    RewardTable,
    Snapshot,
)


@dataclass(frozen=True)
class Progress:
    """What the loop carries from step to step, besides the session."""

    step: int = 0
    balance: Balance | None = None
    """Of the last measured batch."""
    state: BalanceState = field(default_factory=BalanceState)
    """What that balance left to the next."""
    faults: int = 0


@dataclass(frozen=True)
class StepReport:
    """One optimizer step, for the screen."""

    step: int
    seconds: float
    rewards: Mapping[str, float]
    """Means over the step's rollout; rewards that applied to no image are left out."""
    cosines: Mapping[str, float]
    """With the direction stepped, of a measured batch; empty otherwise."""
    faults: tuple[str, ...]
    notices: tuple[str, ...] = ()
    """What was changed to go on: a smaller micro-batch."""


@dataclass(frozen=True)
class Outcome:
    """What a finished run did to every reward, by split."""

    changes: Mapping[str, tuple[RewardChange, ...]]


@dataclass(frozen=True)
class Hooks:
    """Whom the loop tells, and who may stop it."""

    recorder: Recorder
    on_step: Callable[[StepReport], None]
    on_evaluation: Callable[[int, Mapping[str, tuple[RewardChange, ...]]], None]
    should_stop: Callable[[], bool]


@running_together()
def train(session: Session, hooks: Hooks, saved: Snapshot | None = None) -> Outcome:
    """Run the recipe from the start, or from ``saved``, to its last step.

    Raises:
        InterruptedRunError: ``should_stop`` said so; the checkpoint is saved.
        MarbleError: a reward or gradient failed too often, or an update isn't finite.
        LostProcessError: another process of the run has ended.

    """
    progress = Progress() if saved is None else _resume(session, saved)
    base = _evaluate_all(session, "base")
    trained: Mapping[str, Evaluation] | None = None
    if saved is None:
        _record_evaluations(session, hooks, 0, base)
    steps = session.recipe.training.steps
    while progress.step < steps:
        progress, report = train_step(session, hooks.recorder, progress)
        hooks.on_step(report)
        interrupted = session.processes.agree(hooks.should_stop()) and progress.step < steps
        # What is written of a step comes before its checkpoint: a resumed run keeps those lines.
        if _due(progress.step, session.recipe.eval.every, steps) and not interrupted:
            trained = _evaluate_all(session, "trained")
            _record_evaluations(session, hooks, progress.step, trained)
            hooks.on_evaluation(progress.step, _changes(session, base, trained))
        if interrupted or _due(progress.step, session.recipe.checkpoint.every, steps):
            hooks.recorder.checkpoint(snapshot(session, progress.step, _state(progress)))
        if interrupted:
            # One process writes; a launcher that sees another end first would stop it.
            session.processes.wait()
            raise InterruptedRunError(f"interrupted; step {progress.step} is saved")
    if trained is None:
        trained = _evaluate_all(session, "trained")
    return Outcome(_changes(session, base, trained))


def _due(step: int, every: int, last: int) -> bool:
    return step == last or (every > 0 and step % every == 0)


def _evaluate_all(session: Session, subject: Subject) -> dict[str, Evaluation]:
    """By split."""
    return {split: evaluate(session, subject, split) for split in session.prompts.evaluation}


def train_step(
    session: Session, recorder: Recorder, progress: Progress
) -> tuple[Progress, StepReport]:
    """One optimizer step."""
    started = time.perf_counter()
    step = progress.step + 1
    collected = collect(session, step)
    table = collected.table
    batch = training_batch(session, step, collected)
    faults = [f"{fault.reward}: {fault.message}" for fault in table.faults]
    cosines: Mapping[str, float] = {}
    held = progress.balance
    measured: Measurement | None = None
    if held is None or (step - 1) % session.recipe.balance.refresh_every == 0:
        measured = _measured(session, step, batch, table, replace(progress, balance=None))
        balanced = measured.balance
    else:
        balanced = held
        if session.recipe.measure.reused:
            measured = _measured(session, step, batch, table, progress)
    _fill_gradients(session, step, batch, balanced, measured)
    if measured is None:
        norm = _apply(session, step)
    else:
        faults += gradient_faults(measured)
        fresh = _fresh_gradients(session, step)
        norm, record = _recorded_step(session, step, measured, fresh)
        recorder.conflict(record)
        cosines = _named(record.rewards, record.cosines["applied"])
    total = _count_faults(session, step, progress.faults, faults)
    means = _named(table.names, tuple(mean_over_valid(table)))
    notices = session.micro_batch.take_notices()
    seconds = time.perf_counter() - started
    report = StepReport(step, seconds, means, cosines, tuple(faults), notices)
    size = session.micro_batch.size
    recorder.step({**_metrics(table, report, balanced, norm), "micro_batch_size": size})
    session.accelerator.log({f"reward/{k}": v for k, v in means.items()}, step=step)
    state = progress.state if measured is None else measured.state
    return Progress(step, balanced, state, total), report


def _measured(
    session: Session, step: int, batch: TrainingBatch, table: RewardTable, progress: Progress
) -> Measurement:
    """The rewards' gradients and their balance: a new one, or that of ``progress``."""
    recipe = session.recipe
    if method_at(step, recipe.balance) == "marble-published":
        # The published code solves from the first micro-batch, at one noise level.
        batch = batch.head(session.micro_batch.size)
    plan = BalancePlan(
        recipe.balance, _loss_weights(session), step, progress.state, progress.balance
    )
    try:
        return measure(batch_gradients(session, batch), table, plan)
    except MarbleError as error:
        raise MarbleError(f"step {step}: {error}") from error


def _fill_gradients(
    session: Session,
    step: int,
    batch: TrainingBatch,
    balanced: Balance,
    measured: Measurement | None,
) -> None:
    """Set every trained parameter's ``.grad`` to the combined gradient."""
    coefficients = torch.from_numpy(balanced.coefficients)
    published = method_at(step, session.recipe.balance) == "marble-published"
    if measured is not None and not published:
        parameters = session.policies.trained_parameters().values()
        for parameter, gradient in zip(parameters, measured.direction(), strict=True):
            parameter.grad = gradient
        return
    one_backward = published_backward if published else amortised_backward

    def attempt(size: int) -> None:
        # What an earlier attempt has left.
        session.optimizer.zero_grad(set_to_none=True)
        settings = loss_settings(session.recipe, size)
        one_backward(session.policies, batch, settings, coefficients)

    session.micro_batch.fitted(attempt)
    found = (parameter.grad for parameter in session.policies.trained_parameters().values())
    session.sum_(gradient for gradient in found if gradient is not None)


def _fresh_gradients(session: Session, step: int) -> RewardGradients | None:
    """Of new images of the same policy, at the recipe's cadence; they are measured, not stepped."""
    every = session.recipe.measure.fresh_every
    if not every or step % every:
        return None
    return fresh_gradients(session, training_batch(session, step, collect(session, step, "fresh")))


def _recorded_step(
    session: Session, step: int, measured: Measurement, fresh: RewardGradients | None
) -> tuple[float, ConflictRecord]:
    """Step, and what the step was to every reward's gradient."""
    parameters = list(session.policies.trained_parameters().values())
    # No copy: clipping only changes the length.
    applied = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    change = [parameter.detach().clone() for parameter in parameters]
    norm = _apply(session, step)
    for old, new in zip(change, parameters, strict=True):
        old.sub_(new.detach())
    directions = {"applied": applied, "update": change}
    return norm, conflict_record(step, measured, directions, fresh)


def _count_faults(session: Session, step: int, earlier: int, faults: list[str]) -> int:
    limit = session.recipe.training.max_faults
    if earlier + len(faults) > limit:
        raise MarbleError(
            f"step {step}: more than {limit} faults (training.max_faults), the last: {faults[-1]}"
        )
    return earlier + len(faults)


def _loss_weights(session: Session) -> FloatArray:
    return np.array([reward.weight for reward in session.recipe.rewards.values()])


def _apply(session: Session, step: int) -> float:
    """Clip, AdamW, moving average, old policy. Returns the gradient's norm before clipping."""
    training = session.recipe.training
    parameters = list(session.policies.trained_parameters().values())
    norm = _clip(session, parameters)
    if not np.isfinite(norm):
        raise MarbleError(
            f"step {step}: the gradient is not finite ({norm}); lower training.learning_rate and "
            "go on from the last checkpoint with --resume"
        )
    session.optimizer.step()
    session.optimizer.zero_grad(set_to_none=True)
    session.ema.step()
    old = training.old_policy
    session.policies.blend_old(old_policy_decay(step, old.slope, old.cap, old.wait))
    return norm


def _clip(session: Session, parameters: Sequence[Parameter]) -> float:
    """Clip the whole gradient; returns its norm before."""
    shards, limit = session.policies.shards, session.recipe.training.max_grad_norm
    if not shards.divided:
        return float(clip_grad_norm_(parameters, limit))
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = get_total_norm(found).double().square()
    norm = np.sqrt(shards.add(np.asarray(float(squares))))
    clip_grads_with_norm_(parameters, limit, torch.as_tensor(norm, device=shards.home))
    return float(norm)


def _named(names: Sequence[str], values: Sequence[float | None]) -> dict[str, float]:
    """By reward, without those that have no value."""
    pairs = zip(names, values, strict=True)
    return {name: float(v) for name, v in pairs if v is not None and np.isfinite(v)}


def _metrics(
    table: RewardTable, report: StepReport, balanced: Balance, norm: float
) -> dict[str, Json]:
    return {
        "step": report.step,
        "seconds": round(report.seconds, 4),
        "rewards": dict(report.rewards),
        "valid": dict(zip(table.names, table.valid.sum(0).tolist(), strict=True)),
        "coefficients": dict(zip(table.names, balanced.coefficients.tolist(), strict=True)),
        "gradient_norm": norm,
        "worst_cosine": min(report.cosines.values(), default=None),
        "faults": list(report.faults),
    }


def _changes(
    session: Session, base: Mapping[str, Evaluation], trained: Mapping[str, Evaluation]
) -> dict[str, tuple[RewardChange, ...]]:
    seed = session.recipe.run.seed
    return {split: changes(base[split], trained[split], seed) for split in base}


def _record_evaluations(
    session: Session, hooks: Hooks, step: int, results: Mapping[str, Evaluation]
) -> None:
    if not session.processes.first:
        return  # It has no images.
    means = {split: result.means() for split, result in results.items()}
    hooks.recorder.evaluation(step, means)
    for split, result in results.items():
        hooks.recorder.samples(step, split, result.rollout.prompts, result.rollout.images)


def _state(progress: Progress) -> dict[str, Json]:
    balanced = progress.balance
    return {
        "faults": progress.faults,
        "balance_state": progress.state.to_json(),
        "balance": None
        if balanced is None
        else {
            "simplex_weights": balanced.simplex_weights.tolist(),
            "coefficients": balanced.coefficients.tolist(),
            "kkt_residual": balanced.kkt_residual,
        },
    }


def _resume(session: Session, saved: Snapshot) -> Progress:
    restore(session, saved)
    stored = saved.state["balance"]
    balanced = stored and Balance(
        simplex_weights=np.array(stored["simplex_weights"]),
        coefficients=np.array(stored["coefficients"]),
        kkt_residual=stored["kkt_residual"],
    )
    state = BalanceState.from_json(saved.state["balance_state"])
    return Progress(saved.step, balanced, state, saved.state["faults"])
