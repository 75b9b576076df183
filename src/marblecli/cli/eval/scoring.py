"""Sample and score what an evaluation still lacks, part by part, so that it can go on later."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from marblecli.cli.progress import showing_work
from marblecli.cli.setup import Plan, build_suite
from marblecli.cli.target import Target, open_target
from marblecli.engine.processes import Processes
from marblecli.progress import labelled, work
from marblecli.runs.evaluation_folder import EvaluationFolder, ScoredPart, Subject
from marblecli.settings import Recipe
from marblecli.types import Prompt

if TYPE_CHECKING:
    from torch import Tensor

    from marblecli.train.evaluate import Evaluation
    from marblecli.train.sampler import Sampler

Splits = Mapping[str, tuple[Prompt, ...]]
PICTURED = 8
"""Prompts of a split whose first image is kept."""


@dataclass(frozen=True)
class Job:
    """An evaluation, and what it is compared with."""

    plan: Plan
    splits: Splits
    target: Target
    other: Target | None
    """None is the base model."""


@dataclass(frozen=True)
class Part:
    """Some prompts of a split that one of the two is still to be scored on."""

    subject: Subject
    split: str
    places: tuple[int, ...]


def parts_left(job: Job, folder: EvaluationFolder, processes: int) -> list[Part]:
    """What is still to be scored, in the order in which it should be."""
    found = []
    for subject in ("other", "target"):
        for split, prompts in job.splits.items():
            done = {image.place for image in folder.scored(subject, split)}
            left = [place for place in range(len(prompts)) if place not in done]
            size = prompts_of_a_part(job.plan.recipe, split, processes)
            found += [
                Part(subject, split, tuple(left[start : start + size]))
                for start in range(0, len(left), size)
            ]
    return found


def prompts_of_a_part(recipe: Recipe, split: str, processes: int) -> int:
    """How many prompts are scored together: such that every process samples whole batches."""
    from marblecli.train.evaluate import images_per_prompt

    images = images_per_prompt(recipe.eval, split)
    return math.lcm(images, recipe.sampling.batch_size) // images * processes


def score_parts(
    job: Job, parts: Sequence[Part], folder: EvaluationFolder | None, processes: Processes
) -> None:
    """Score the parts in order, and keep each in ``folder``, which the first process has."""
    from marblecli.train.evaluate import evaluate_part, images_per_prompt

    total = sum(
        len(part.places) * images_per_prompt(job.plan.recipe.eval, part.split) for part in parts
    )
    with (
        showing_work(),
        work("evaluating", total, "images") as advance,
        _Samplers(job) as samplers,
    ):
        for part in parts:
            sampler, policy = samplers.of(part.subject)
            with labelled(f"{part.subject} on {part.split} prompts"):
                evaluation = evaluate_part(sampler, policy, part.split, part.places)
            if folder is not None and processes.first:
                folder.add(_scored(part, evaluation), _pictures(part, evaluation, job.splits))
            advance(len(evaluation.table.values))
        samplers.end()


class _Samplers:
    """The loaded models: one at a time, and none twice in a row."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._open: Sampler | None = None
        self._weights_of: Target | None = None

    def __enter__(self) -> _Samplers:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def of(self, subject: Subject) -> tuple[Sampler, Literal["reference", "trained"]]:
        """The sampler with the subject's weights, and the policy that has them."""
        who = self._job.target if subject == "target" else self._job.other
        target = who or self._job.target
        if self._open is None or self._open.recipe.model != target.recipe.model:
            self._close()
            self._open = _open(self._job, target)
            self._weights_of = target
        if who is not None and who is not self._weights_of:
            weights = who.load()
            if not weights:
                return self._open, "reference"
            self._open.policies.load_trained(weights)
            self._weights_of = who
        return self._open, "reference" if who is None else "trained"

    def end(self) -> None:
        """Leave the process group, once nothing is left to score."""
        if self._open is not None:
            self._open.accelerator.end_training()

    def _close(self) -> None:
        if self._open is not None:
            self._open.suite.close()
            self._open = None


def _open(job: Job, target: Target) -> Sampler:
    from marblecli.train.sampler import PromptSets

    build = partial(build_suite, job.plan)
    with work("loading the model and the rewards"):
        prompts = PromptSets(evaluation=job.splits)
        return open_target(target, prompts, build, recipe=job.plan.recipe)


def _scored(part: Part, evaluation: Evaluation) -> ScoredPart:
    return ScoredPart(part.subject, part.split, evaluation.images(), evaluation.table.faults)


def _pictures(part: Part, evaluation: Evaluation, splits: Splits) -> dict[int, Tensor]:
    """The first image of those prompts of the part whose images are kept, by place."""
    kept = set(pictured(len(splits[part.split])))
    each = len(evaluation.rollout.images) // len(part.places)
    return {
        place: evaluation.rollout.images[index * each]
        for index, place in enumerate(part.places)
        if place in kept
    }


def pictured(prompts: int) -> list[int]:
    """The places of the prompts whose images are kept, spread evenly over all of them."""
    count = min(PICTURED, prompts)
    return [index * prompts // count for index in range(count)]
