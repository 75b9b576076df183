"""Sample and score, no update: the same prompts from the same noise for every policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from marblecli.engine.processes import Processes
from marblecli.maths.bootstrap import bootstrap_interval
from marblecli.models.average import averaged_weights
from marblecli.seeding import stream, torch_stream
from marblecli.train.rollout import group_numbers, sample_and_score
from marblecli.train.session import Session
from marblecli.types import FloatArray, Prompt, RewardChange, RewardTable, Rollout

Subject = Literal["base", "trained"]
"""The reference policy, or the trained one with its moving average."""


@dataclass(frozen=True)
class Evaluation:
    """Scores of one split, image by image, in an order that depends on the prompts alone."""

    split: str
    table: RewardTable
    rollout: Rollout
    """Of several processes, only the first has all images; the others have none."""

    def means(self) -> dict[str, float]:
        """The mean of every reward over the images it applies to; without any, it is left out."""
        table = self.table
        columns = zip(table.names, table.values.T, table.valid.T, strict=True)
        return {name: float(v[m].mean()) for name, v, m in columns if m.any()}


def evaluate(session: Session, subject: Subject, split: str) -> Evaluation:
    """Score one split of the evaluation prompts.

    Its noise belongs to the split and the prompt's place, is the same for every subject and step,
    and is never used in training.
    """
    settings = session.recipe.eval
    prompts = session.prompts.evaluation[split]
    count = settings.images_per_train_prompt if split == "train" else settings.images_per_prompt
    generators = [
        torch_stream(session.recipe.run.seed, f"eval-{split}", index)
        for index in range(len(prompts))
    ]
    if subject == "base":
        sampler = session.sampler("reference", settings.steps)
        result = sample_and_score(sampler, session.suite, prompts, count, generators)
    else:
        sampler = session.sampler("trained", settings.steps)
        with averaged_weights(session.policies, session.ema):
            result = sample_and_score(sampler, session.suite, prompts, count, generators)
    rollout, table = result
    return Evaluation(split, table, _whole(session.processes, rollout, prompts, count))


def _whole(processes: Processes, part: Rollout, prompts: Sequence[Prompt], count: int) -> Rollout:
    """All processes' images, where they are written."""
    if processes.count == 1:
        return part
    images = processes.gather_to_first(part.images) or [part.images[:0]]
    each = tuple(prompt for prompt in prompts for _ in range(count))
    return Rollout(each, group_numbers(len(prompts), count), part.latents[:0], torch.cat(images))


def changes(before: Evaluation, after: Evaluation, seed: int) -> tuple[RewardChange, ...]:
    """What every reward did, with a 95 % bootstrap interval of the paired difference.

    On training prompts images are resampled within their prompt: the interval speaks of fresh
    noise on these prompts. On held-out prompts whole prompts are resampled: it speaks of fresh
    prompts.
    """
    names = enumerate(after.table.names)
    found = (_change(before, after, index, name, seed) for index, name in names)
    return tuple(change for change in found if change is not None)


def _change(
    before: Evaluation, after: Evaluation, index: int, name: str, seed: int
) -> RewardChange | None:
    both = before.table.valid[:, index] & after.table.valid[:, index]
    if not both.any():
        return None
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


def mean_over_valid(table: RewardTable) -> FloatArray:
    """[K], the mean of each reward over the images it applies to; NaN where there are none."""
    counts = table.valid.sum(0)
    totals = np.where(table.valid, table.values, 0.0).sum(0)
    return np.divide(totals, counts, out=np.full(len(table.names), np.nan), where=counts > 0)
