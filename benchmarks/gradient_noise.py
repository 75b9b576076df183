"""How noisy the rewards' gradients are: ``python benchmarks/gradient_noise.py [RECIPE]``.

Samples many batches of one frozen policy and compares their gradients. What the batches have in
common is the signal: the mean inner product of different batches is an unbiased estimate of the
true gradient's squared norm, and for two rewards of their true inner product.

It prints five tables. The first one has what a forward pass buys: the squared signal-to-noise ratio
over the passes of an image, as in ``geometry.py``. The second one has the norms, the
signal-to-noise ratio of one batch (whole, by prompt source and by noise level) and the split-half
reliability of every reward. The next two have the true cosines between the rewards and the mean
cosines of one batch. The last one has the true cosines of the directions that methods would take
from several estimates of the Gram matrix, and what the rewards gain per unit of step length (see
``estimators.py``).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from estimators import Measured, estimators
from marblecli.conflicts.vectors import pairwise_cosines
from marblecli.maths.gram import gram_matrix, part_grams, whole_gram
from marblecli.maths.passes import step_passes
from marblecli.maths.scores import score_stats
from marblecli.maths.signal import (
    batch_products,
    halves_signal_to_noise,
    jackknife,
    jackknife_error,
    left_out,
    mean_ratio,
)
from marblecli.maths.sketch import sketch
from marblecli.train.batch import row_slices
from marblecli.train.collect import collect, loss_settings, training_batch
from marblecli.train.gradients.reward_gradients import RewardGradients, contracted_gradients
from marblecli.train.sampler import Sampler
from marblecli.types import FloatArray, IntArray, PartGrams, ScoreStats
from opening import opened


@dataclass
class Shared:
    """Running sums over batches, which give the unbiased Gram matrix of the mean vectors."""

    total: list[Tensor] = field(default_factory=list)
    grams: list[FloatArray] = field(default_factory=list)

    def add(self, blocks: list[Tensor]) -> None:
        """Add one batch's K vectors, for each parameter [K, ...]."""
        self.grams.append(gram_matrix(blocks))
        held = self.total or [torch.zeros_like(block) for block in blocks]
        self.total = [total + block for total, block in zip(held, blocks, strict=True)]

    @property
    def signal(self) -> FloatArray:
        """[K, K], the mean inner product of v_k of one batch and v_l of another one."""
        count = len(self.grams)
        return (gram_matrix(self.total) - np.sum(self.grams, 0)) / (count * (count - 1))

    @property
    def signal_to_noise(self) -> FloatArray:
        """[K], the true vector's norm over that of a batch's deviation; 0 if not measurable."""
        signal = np.maximum(np.diag(self.signal), 0.0)
        noise = np.diag(np.mean(self.grams, 0)) - signal
        return np.sqrt(np.divide(signal, noise, out=np.zeros_like(signal), where=noise > 0))


@dataclass
class Sums:
    """The sums over all batches."""

    signal: Shared = field(default_factory=Shared)
    slices: dict[str, Shared] = field(default_factory=dict)
    parts: list[PartGrams] = field(default_factory=list)
    whole: list[FloatArray] = field(default_factory=list)
    scores: list[ScoreStats] = field(default_factory=list)
    sketches: list[FloatArray] = field(default_factory=list)
    """[K, size] of each batch, of its signal."""


@dataclass(frozen=True)
class PerPass:
    """The mean over rewards of the squared signal-to-noise ratio, over the passes of an image."""

    passes: float
    value: float
    """From the products of different batches."""
    error: float
    """The jackknife's standard error."""
    by_halves: float
    """From the two halves of each batch, which have no prompt in common."""
    error_by_halves: float


@dataclass(frozen=True)
class Report:
    """The printed figures."""

    batches: int
    per_pass: PerPass
    by_reward: dict[str, dict[str, float]]
    slices: dict[str, dict[str, float]]
    """The signal-to-noise ratio, by slice and reward."""
    true_cosines: list[list[float]]
    batch_cosines: list[list[float]]
    estimators: dict[str, dict[str, float]]


def main() -> None:
    """Parse, measure, print."""
    options = _parse()
    with opened(options.recipe, options.set) as sampler:
        names = tuple(sampler.recipe.rewards)
        sums = _gather(sampler, options.batches)
        passes = step_passes(sampler.recipe).total
    report = Report(
        batches=options.batches,
        per_pass=_per_pass(sums, passes),
        by_reward=_by_reward(names, sums),
        slices={
            name: dict(zip(names, shared.signal_to_noise.tolist(), strict=True))
            for name, shared in sums.slices.items()
        },
        true_cosines=_cosines(sums.signal.signal),
        batch_cosines=np.mean([pairwise_cosines(gram) for gram in sums.whole], 0).tolist(),
        estimators=_estimators(names, sums),
    )
    _show(report)
    if options.json is not None:
        options.json.write_text(json.dumps(asdict(report), indent=2))


def _gather(sampler: Sampler, batches: int) -> Sums:
    sums = Sums()
    settings = loss_settings(sampler.recipe, sampler.micro_batch.size)
    for step in range(1, batches + 1):
        collected = collect(sampler, step)
        batch = training_batch(sampler, step, collected)
        sources = [prompt.source for prompt in collected.rollout.prompts]
        batch = replace(batch, slices=row_slices(sources, batch.levels))
        _add(sums, contracted_gradients(sampler.policies, batch, settings))
        scale = sampler.recipe.training.advantage_scale
        sums.scores.append(score_stats(collected.table, collected.groups, scale))
    return sums


def _add(sums: Sums, gradients: RewardGradients) -> None:
    gram = gram_matrix(block.flatten(0, 1) for block in gradients.blocks)
    count = gradients.blocks[0].shape[1]
    sums.parts.append(part_grams(gram, np.ones(count, dtype=bool)))
    sums.whole.append(whole_gram(gram, count))
    sums.signal.add(list(gradients.signal()))
    sums.sketches.append(sketch(gradients.signal(), torch.Generator().manual_seed(0)))
    for name, blocks in gradients.slices.items():
        sums.slices.setdefault(name, Shared()).add(blocks)


def _per_pass(sums: Sums, passes: float) -> PerPass:
    def by_halves(batches: IntArray) -> float:
        return mean_ratio(halves_signal_to_noise([sums.parts[each] for each in batches])) / passes

    count = len(sums.parts)
    value, error = jackknife(batch_products(np.array(sums.sketches)), passes)
    halves = by_halves(np.arange(count))
    return PerPass(passes, value, error, halves, jackknife_error(left_out(by_halves, count)))


def _by_reward(names: tuple[str, ...], sums: Sums) -> dict[str, dict[str, float]]:
    cross, first, second, pull, whole = (
        np.mean([np.diag(matrix) for matrix in matrices], 0)
        for matrices in (
            [parts.cross for parts in sums.parts],
            [parts.first for parts in sums.parts],
            [parts.second for parts in sums.parts],
            [parts.pull for parts in sums.parts],
            sums.whole,
        )
    )
    return {
        name: {
            "norm": float(np.sqrt(whole[k])),
            "pull_norm": float(np.sqrt(pull[k])),
            "signal_to_noise": float(sums.signal.signal_to_noise[k]),
            "split_half_reliability": float(cross[k] / np.sqrt(first[k] * second[k])),
        }
        for k, name in enumerate(names)
    }


def _cosines(gram: FloatArray) -> list[list[float]]:
    norms = np.sqrt(np.maximum(np.diag(gram), 1e-300))
    return (gram / np.outer(norms, norms)).tolist()


def _estimators(names: tuple[str, ...], sums: Sums) -> dict[str, dict[str, float]]:
    """For each way to choose coefficients, how its directions treat the true signals."""
    rows = zip(sums.whole, sums.parts, sums.scores, sums.sketches, strict=True)
    return estimators(names, sums.signal.signal, [Measured(*row) for row in rows])


def _show(report: Report) -> None:
    console = Console()
    names = list(report.by_reward)
    worth = report.per_pass
    table = _table("What a forward pass buys", "from", ("passes", "1000 SNR² / pass"))
    for label, value, error in (
        ("different batches", worth.value, worth.error),
        ("halves of each batch", worth.by_halves, worth.error_by_halves),
    ):
        table.add_row(label, f"{worth.passes:.1f}", f"{1000 * value:.1f} ± {1000 * error:.1f}")
    console.print(table)
    columns = ("norm", "pull", "signal/noise", "split-half", *report.slices)
    table = _table(f"Signal and noise of one batch, {report.batches} batches", "reward", columns)
    for name, row in report.by_reward.items():
        cells = [f"{value:.3g}" for value in row.values()]
        table.add_row(name, *cells, *(f"{part[name]:.2f}" for part in report.slices.values()))
    console.print(table)
    for values, title in (
        (report.true_cosines, "True cosines (what batches share)"),
        (report.batch_cosines, "Mean cosine of one batch"),
    ):
        table = _table(title, "", names)
        for name, row in zip(names, values, strict=True):
            table.add_row(name, *(f"{value:.2f}" for value in row))
        console.print(table)
    columns = (
        "worst of mean cosines",
        "mean cosine",
        "share in conflict",
        "worst mean gain",
        "mean gain",
    )
    table = _table("Coefficients from ... applied to the true signal", "estimate", columns)
    for label, figures in report.estimators.items():
        table.add_row(label, *(f"{value:.3f}" for value in figures.values()))
    console.print(table)


def _table(title: str, first: str, columns: Sequence[str]) -> Table:
    table = Table(title=title)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="How noisy the rewards' gradients are.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/quickstart.toml"))
    parser.add_argument("--batches", type=int, default=48)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
