"""Measure batches of a policy without training it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from marblecli.conflicts.record import ConflictRecord
from marblecli.maths.sketch import sketch
from marblecli.seeding import torch_stream
from marblecli.settings import Recipe
from marblecli.train.collect import collect, step_prompts, training_batch
from marblecli.train.gradients.of_batch import batch_gradients
from marblecli.train.record import conflict_record
from marblecli.train.sampler import Sampler
from marblecli.train.step import Carried, find_direction, fresh_gradients
from marblecli.types import FloatArray, Prompt


@dataclass(frozen=True)
class ProbedBatch:
    """One measured batch."""

    record: ConflictRecord
    """The record that a run would write, without an update."""
    faults: tuple[str, ...]
    """One line for each reward or gradient that failed."""
    notices: tuple[str, ...]
    """One line for each change that was needed to go on, such as a smaller micro-batch."""
    signal: FloatArray | None
    """[K, size], a sketch of the batch's gradients, by which batches are compared; None if only a
    part of the batch was measured."""
    level_signals: Mapping[str, FloatArray]
    """By range of noise levels, sketches of the gradients of the range's rows."""


def probe(sampler: Sampler, batches: int) -> Iterator[ProbedBatch]:
    """Measure ``batches`` batches one by one, as a run would if it didn't update its weights.

    Each batch's direction is the one that training would step, also where training reuses
    coefficients. All batches are samples of one policy, so they differ by noise only. New images
    are measured, too, at the recipe's ``measure.fresh_every``.

    Raises MarbleError if no reward has a usable gradient.
    """
    carried = Carried()
    parameters = list(sampler.policies.trained_parameters().values())
    for step in range(1, batches + 1):
        found = find_direction(sampler, step, carried, record_all=True)
        carried = found.carried
        if found.measured is None:
            raise RuntimeError("a batch of the probe wasn't measured")
        fresh = fresh_gradients(sampler, step)
        whole = sampler.schedule.at(step).spec.needs.rows == "batch"
        found.measured.keep()
        gradients = found.measured.gradients
        yield ProbedBatch(
            record=conflict_record(
                step,
                found.measured,
                {"applied": found.filled(parameters)},
                sampler.reduction.products,
                None if fresh is None else fresh.gradients,
            ),
            faults=(*found.faults, *(fresh.faults if fresh else ())),
            notices=(*sampler.micro_batch.take_notices(), *found.notices),
            # The policy is the one that sampled, so there is no pull: gradients are all signal.
            signal=_sketch(sampler, gradients.whole()) if whole else None,
            level_signals={
                name: _sketch(sampler, blocks)
                for name, blocks in gradients.slices.items()
                if whole and name.startswith("noise ")
            },
        )


def batch_signals(sampler: Sampler, recipe: Recipe, batches: int) -> Iterator[FloatArray]:
    """[K, size] of each batch, what :attr:`ProbedBatch.signal` is, with the settings of ``recipe``.

    ``recipe`` may differ from the sampler's in how images are sampled and trained. Nothing else of
    the batches is measured: no parts, no regulariser, no balance.
    """
    measure = recipe.measure.model_copy(update={"parts": False, "slices_every": 0})
    training = recipe.training.model_copy(update={"kl_weight": 0.0})
    bare = recipe.model_copy(update={"measure": measure, "training": training})
    measured = replace(sampler, recipe=bare)
    for step in range(1, batches + 1):
        batch = training_batch(measured, step, collect(measured, step))
        yield _sketch(measured, batch_gradients(measured, batch).whole())


def _sketch(sampler: Sampler, blocks: Iterable[Tensor]) -> FloatArray:
    """[K, size], of K gradients, of which each block has the elements of one parameter [K, ...]."""
    # Processes with sharded weights hold different elements, which must not get the same signs.
    rank = sampler.processes.rank if sampler.reduction.sharded else 0
    generator = torch_stream(sampler.recipe.run.seed, "sketch", rank)
    return sampler.reduction.products(sketch(blocks, generator))


def probed_texts(recipe: Recipe, sources: Sequence[Sequence[Prompt]], batches: int) -> set[str]:
    """The texts of the prompts that :func:`probe` draws from ``sources``, fresh images included."""
    every = recipe.measure.fresh_every
    drawn = [
        prompt
        for step in range(1, batches + 1)
        for purpose in ("rollout", "fresh")
        if purpose == "rollout" or (every and step % every == 0)
        for prompt in step_prompts(recipe, sources, step, purpose)
    ]
    return {prompt.text for prompt in drawn}
