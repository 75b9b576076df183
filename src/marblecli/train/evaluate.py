"""Sample and score without an update, from the same prompts and noise for every policy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from marblecli.engine.processes import Processes
from marblecli.maths.bootstrap import bootstrap_interval
from marblecli.seeding import stream, torch_stream
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
            ScoredImage(prompt.text, prompt.source, place, number, each)
            for prompt, place, number, each in columns
        )

    def faults(self) -> list[str]:
        """One line for each reward that failed on some of the images."""
        return [f"{fault.reward}: {fault.message}" for fault in self.table.faults]


def evaluate(sampler: Sampler, policy: Literal["reference", "trained"], split: str) -> Evaluation:
    """Score one split of the evaluation prompts.

    The initial noise depends only on the run's seed, the split and the prompt's place. So it is the
    same for every policy and step, and it isn't used in training.
    """
    settings = sampler.recipe.eval
    prompts = sampler.prompts.evaluation[split]
    count = settings.images_per_train_prompt if split == "train" else settings.images_per_prompt
    seed = sampler.recipe.run.seed
    generators = [torch_stream(seed, f"eval-{split}", index) for index in range(len(prompts))]
    sampling = Sampling(policy, settings.steps)
    rollout, table = sample_and_score(sampler, sampling, prompts, count, generators)
    return Evaluation(split, table, _whole(sampler.processes, rollout, prompts, count))


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
    return Evaluation(split, table, Rollout(each, groups, nothing, nothing))


def _whole(processes: Processes, part: Rollout, prompts: Sequence[Prompt], count: int) -> Rollout:
    """The rollout of all ``prompts``, with the images of all processes in the first process."""
    if processes.count == 1:
        return part
    images = processes.gather_to_first(part.images) or [part.images[:0]]
    each = tuple(prompt for prompt in prompts for _ in range(count))
    return Rollout(each, group_numbers(len(prompts), count), part.latents[:0], torch.cat(images))


def changes(before: Evaluation, after: Evaluation, seed: int) -> tuple[RewardChange, ...]:
    """The change of every reward's mean, with a 95 % bootstrap interval of the paired difference.

    On training prompts, images are resampled within their prompt: the interval is for new noise on
    the same prompts. On other prompts, whole prompts are resampled: it is for new prompts. A reward
    that applies to no prompt of the split is left out. One that failed on all images has a change
    that says so.
    """
    found = (_change(before, after, index, seed) for index in range(len(after.table.names)))
    return tuple(change for change in found if change is not None)


def _change(before: Evaluation, after: Evaluation, index: int, seed: int) -> RewardChange | None:
    name = after.table.names[index]
    both = before.table.valid[:, index] & after.table.valid[:, index]
    if not both.any():
        return _failure(name, (after, before))
    start, end = before.table.values[both, index], after.table.values[both, index]
    resample: Literal["within", "clusters"] = "within" if after.split == "train" else "clusters"
    groups = after.rollout.groups[both]

    def interval(values: FloatArray) -> tuple[float, float]:
        rng = stream(seed, "bootstrap", index)
        return bootstrap_interval(values, groups, resample, rng)[1:]

    low, high = interval(end - start)
    end_low, end_high = interval(end)
    return RewardChange(
        reward=name,
        start=float(start.mean()),
        end=float(end.mean()),
        low=low,
        high=high,
        end_low=end_low,
        end_high=end_high,
        images=int(both.sum()),
    )


def _failure(name: str, evaluations: Sequence[Evaluation]) -> RewardChange | None:
    """The failed change of a reward without values; None if it applies to no image."""
    faults = (fault for each in evaluations for fault in each.table.faults)
    message = next((fault.message for fault in faults if fault.reward == name), None)
    return None if message is None else RewardChange(name, *(math.nan,) * 6, 0, failure=message)


def mean_over_valid(table: RewardTable) -> FloatArray:
    """[K], the mean of each reward over the images it is valid on; NaN if there are none."""
    counts = table.valid.sum(0)
    totals = np.where(table.valid, table.values, 0.0).sum(0)
    return np.divide(totals, counts, out=np.full(len(table.names), np.nan), where=counts > 0)
