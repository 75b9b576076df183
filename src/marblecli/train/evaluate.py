"""Sample and score without an update, from the same prompts and noise for every policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from marblecli.engine.processes import Processes
from marblecli.maths.paired import ScoredSplit, split_changes
from marblecli.seeding import torch_stream
from marblecli.settings import EvalSettings
from marblecli.train.distance import distance_from_base
from marblecli.train.rollout import Sampling, group_numbers, sample_and_score
from marblecli.train.sampler import Sampler
from marblecli.types import (
    EvaluationRecord,
    FloatArray,
    Prompt,
    RewardChange,
    RewardTable,
    Rollout,
    ScoredImage,
)


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split, image by image; the order depends on the prompts alone."""

    split: str
    table: RewardTable
    rollout: Rollout
    """All prompts and groups. If there are several processes, only the first has the images."""
    places: tuple[int, ...]
    """Of each group, the place of its prompt in the split."""
    distance: float | None = None
    """Of the trained policy from the base model, on these images; see
    :mod:`marblecli.train.distance`. None where it wasn't measured."""

    def images(self) -> tuple[ScoredImage, ...]:
        """Every image with its scores, and the place of its prompt in the split."""
        names, groups = self.table.names, self.rollout.groups
        _, starts = np.unique(groups, return_index=True)
        numbers = np.arange(len(groups)) - starts[groups]
        rows = zip(self.table.values.tolist(), self.table.valid.tolist(), strict=True)
        scores = [
            {name: value if there else None for name, value, there in zip(names, *row, strict=True)}
            for row in rows
        ]
        columns = zip(self.rollout.prompts, groups.tolist(), numbers.tolist(), scores, strict=True)
        return tuple(
            ScoredImage(prompt.text, prompt.source, self.places[group], number, each)
            for prompt, group, number, each in columns
        )

    def scored(self) -> ScoredSplit:
        """The same images, and the faults of the rewards."""
        return ScoredSplit(self.images(), self.table.faults)

    def faults(self) -> list[str]:
        """One line for each reward that failed on some of the images."""
        return [f"{fault.reward}: {fault.message}" for fault in self.table.faults]


def evaluate(sampler: Sampler, policy: Literal["reference", "trained"], split: str) -> Evaluation:
    """Score one split of the evaluation prompts, and measure the trained policy's distance.

    The initial noise depends only on the run's seed, the split and the prompt's place. So it is the
    same for every policy and step, and it isn't used in training.
    """
    whole, part = _evaluated(sampler, policy, split, range(len(sampler.prompts.evaluation[split])))
    if policy == "reference":
        return whole
    return replace(whole, distance=distance_from_base(sampler, part))


def evaluate_part(
    sampler: Sampler, policy: Literal["reference", "trained"], split: str, places: Sequence[int]
) -> Evaluation:
    """The scores of :func:`evaluate`, for the prompts at these places of the split only."""
    return _evaluated(sampler, policy, split, places)[0]


def _evaluated(
    sampler: Sampler, policy: Literal["reference", "trained"], split: str, places: Sequence[int]
) -> tuple[Evaluation, Rollout]:
    """The evaluation, and this process's part of its images."""
    recipe = sampler.recipe
    prompts = [sampler.prompts.evaluation[split][place] for place in places]
    count = images_per_prompt(recipe.eval, split)
    generators = [torch_stream(recipe.run.seed, f"eval-{split}", place) for place in places]
    sampling = Sampling(policy, recipe.eval.steps)
    rollout, table = sample_and_score(sampler, sampling, prompts, count, generators)
    whole = _whole(sampler.processes, rollout, prompts, count)
    return Evaluation(split, table, whole, tuple(places)), rollout


def to_record(
    step: int,
    subject: Literal["base", "trained"],
    evaluations: Mapping[str, Evaluation],
    seed: int,
    seconds: float,
) -> EvaluationRecord:
    """What a run keeps of the evaluations of all splits."""
    distances = {split: each.distance for split, each in evaluations.items()}
    return EvaluationRecord(
        step=step,
        subject=subject,
        images={split: each.images() for split, each in evaluations.items()},
        faults={split: each.table.faults for split, each in evaluations.items()},
        seed=seed,
        seconds=round(seconds, 3),
        distances={split: each for split, each in distances.items() if each is not None},
    )


def images_per_prompt(settings: EvalSettings, split: str) -> int:
    """How many images of each prompt an evaluation of the split samples."""
    return settings.images_per_train_prompt if split == "train" else settings.images_per_prompt


def from_record(
    record: EvaluationRecord, split: str, prompts: Sequence[Prompt]
) -> Evaluation | None:
    """The evaluation of one split that was recorded, without its images' pixels.

    None if the record isn't of these prompts.
    """
    images = record.images.get(split, ())
    if not images or any(
        image.place >= len(prompts) or image.prompt != prompts[image.place].text for image in images
    ):
        return None
    groups = np.array([image.place for image in images])
    if set(groups.tolist()) != set(range(len(prompts))):
        return None
    names = tuple(images[0].scores)
    scores = [[image.scores.get(name) for name in names] for image in images]
    table = RewardTable(
        names=names,
        values=np.array([[value or 0.0 for value in row] for row in scores]),
        valid=np.array([[value is not None for value in row] for row in scores]),
        faults=tuple(record.faults.get(split, ())),
    )
    each = tuple(prompts[place] for place in groups.tolist())
    nothing = torch.empty(0, 3, 0, 0)
    places = tuple(range(len(prompts)))
    return Evaluation(split, table, Rollout(each, groups, nothing, nothing), places)


def _whole(processes: Processes, part: Rollout, prompts: Sequence[Prompt], count: int) -> Rollout:
    """The rollout of all ``prompts``, with the images of all processes in the first process."""
    if processes.count == 1:
        return part
    images = processes.gather_to_first(part.images) or [part.images[:0]]
    each = tuple(prompt for prompt in prompts for _ in range(count))
    return Rollout(each, group_numbers(len(prompts), count), part.latents[:0], torch.cat(images))


def changes(before: Evaluation, after: Evaluation, seed: int) -> tuple[RewardChange, ...]:
    """The change of every reward's mean, with a 95 % bootstrap interval of the paired difference.

    See :func:`~marblecli.maths.paired.split_changes`. A reward that applies to no prompt of the
    split is left out. One that failed on all images has a change that says so.
    """
    return split_changes(after.split, before.scored(), after.scored(), seed)


def mean_over_valid(table: RewardTable) -> FloatArray:
    """[K], the mean of each reward over the images it is valid on; NaN if there are none."""
    counts = table.valid.sum(0)
    totals = np.where(table.valid, table.values, 0.0).sum(0)
    return np.divide(totals, counts, out=np.full(len(table.names), np.nan), where=counts > 0)
