"""The gain from scoring a batch while the next is sampled: ``python benchmarks/reward_overlap.py``.

Batches of a Stable Diffusion 3 with random weights are sampled, and scored by one reward that takes
``--cost`` times as long as sampling a batch. This is done in two ways, in turn, in one process:
once the scores of each batch are waited for before the next is sampled, and once both overlap, as
in training. There are two kinds of rewards:

- one that ``waits``: it sleeps, like a process that waits for a reward on another machine;
- one that ``computes``: it multiplies matrices in one thread, on a core that sampling doesn't use.

If a batch takes s to sample and r to score, n batches are predicted to take n (s + r) one after the
other and s + (n - 1) max(s, r) + r with overlap; s and r are measured alone in every round. Seconds
are those of the clock, because overlapping doesn't save processor time. So other work on the
machine counts. ``two at once`` shows how much: it is the speed of two threads that each do the
reward's work, against one after the other, and 2 if each has a core.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.spec import RewardBatch, RewardSpec
from marblecli.seeding import torch_stream
from marblecli.settings import Recipe
from marblecli.train.rollout import Sampling, sample, sample_and_score
from marblecli.train.sampler import PromptSets, Sampler, open_sampler
from marblecli.types import Prompt, RewardTable
from small_models import SMALL, model_folder
from synthetic import random_prompts

_SIDE = 384
"""Rows and columns of the matrices that are multiplied."""


@dataclass(frozen=True)
class Options:
    """The command line."""

    model: str
    resolution: int
    sampler_steps: int
    batches: int
    images: int
    cost: float
    rounds: int
    json: Path | None


@dataclass(frozen=True)
class Work:
    """Batches to sample, each of one prompt."""

    sampler: Sampler
    prompts: Sequence[Prompt]

    @property
    def old(self) -> Sampling:
        """Sampling by the old policy with the recipe's number of steps."""
        return Sampling("old", self.sampler.recipe.sampling.steps)

    @property
    def generators(self) -> list[torch.Generator]:
        """Generators of the initial noise; it is the same at every call."""
        return [torch_stream(0, "overlap", index) for index in range(len(self.prompts))]

    def sample(self) -> None:
        """Sample all batches without scoring them."""
        images = self.sampler.recipe.sampling.batch_size
        sample(self.sampler, self.old, self.prompts, images, self.generators, _nobody)

    def sample_and_score(self, suite: RewardSuite) -> None:
        """Sample and score all batches as in training."""
        sampler = replace(self.sampler, suite=suite)
        images = sampler.recipe.sampling.batch_size
        sample_and_score(sampler, self.old, self.prompts, images, self.generators)


@dataclass(frozen=True)
class Round:
    """The seconds that were measured in one round."""

    sampling: float
    """To sample one batch."""
    scoring: float
    """To score one batch."""
    two_at_once: float
    """To score two batches in two threads, while nothing else runs."""
    in_turn: float
    """To sample and score all batches one after the other."""
    overlapped: float
    """To sample and score all batches with overlap."""

    def predicted(self, batches: int) -> tuple[float, float]:
        """The predicted seconds for all batches, one after the other and with overlap."""
        s, r = self.sampling, self.scoring
        return batches * (s + r), s + (batches - 1) * max(s, r) + r


class InTurn(RewardSuite):
    """A suite that waits for each batch's scores before the next batch is sampled."""

    def submit(
        self, images: Tensor, prompts: Sequence[Prompt], names: Sequence[str] | None = None
    ) -> Future[RewardTable]:
        """Score the batch, and wait until it is done."""
        future = super().submit(images, prompts, names)
        wait([future])
        return future


def main() -> None:
    """Parse the command line, and run."""
    run(_parse())


def run(options: Options) -> None:
    """Measure and print the figures; with ``--json``, also write them."""
    # Sampling takes one core, so that another one is left for the reward.
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        work = make_work(options, Path(scratch))
    work.sample()
    seconds = options.cost * _timed(work.sample) / options.batches
    rewards = {"waits": waiting(seconds), "computes": computing(seconds)}
    found: dict[str, list[Round]] = {name: [] for name in rewards}
    for _ in range(options.rounds):
        for name, reward in rewards.items():
            found[name].append(_round(work, reward))
    _show(found, options.batches)
    if options.json is not None:
        document = {
            "options": {key: str(value) for key, value in asdict(options).items()},
            "rounds": {name: [asdict(one) for one in rounds] for name, rounds in found.items()},
        }
        options.json.write_text(json.dumps(document, indent=2))


def make_work(options: Options, folder: Path) -> Work:
    """A model with random weights, and embedded prompts."""
    cuda = torch.cuda.is_available()
    recipe = Recipe.model_validate(
        {
            "model": {
                "pretrained": model_folder(options.model, folder),
                "random_weights": True,
                "dtype": "bf16" if cuda else "fp32",
            },
            "prompts": {"random": {"train": folder / "none.txt"}},
            "rewards": {"synthetic": {}},
            "sampling": {
                "resolution": options.resolution,
                "steps": options.sampler_steps,
                "batch_size": options.images,
            },
            "training": {"steps": 1},
        }
    )
    prompts = random_prompts(options.batches)
    # Every round uses its own rewards.
    sampler = open_sampler(recipe, PromptSets((prompts,)), lambda _device: RewardSuite([]))
    return Work(sampler, prompts)


def waiting(seconds: float) -> Callable[[], None]:
    """A reward's work that is done elsewhere: it sleeps for ``seconds``."""
    return partial(time.sleep, seconds)


def computing(seconds: float) -> Callable[[], None]:
    """Matrix products that take about ``seconds`` when nothing else runs."""
    matrix = torch.rand(_SIDE, _SIDE)

    def multiply(times: int) -> None:
        for _ in range(times):
            matrix @ matrix

    multiply(10)
    trial = 100
    return partial(multiply, max(1, round(trial * seconds / _timed(partial(multiply, trial)))))


@contextmanager
def suites(work: Callable[[], None]) -> Iterator[tuple[RewardSuite, RewardSuite]]:
    """A suite that waits at every batch, and one that overlaps."""

    def score(batch: RewardBatch) -> Any:
        work()
        return np.zeros(len(batch.prompts))

    spec = RewardSpec(name="synthetic", summary="", build=lambda *_: score, images="float")
    reward = ActiveReward(spec, score)
    with InTurn([reward]) as in_turn, RewardSuite([reward]) as overlapped:
        yield in_turn, overlapped


def _round(work: Work, reward: Callable[[], None]) -> Round:
    with suites(reward) as (in_turn, overlapped):
        return Round(
            sampling=_timed(work.sample) / len(work.prompts),
            scoring=_timed(reward),
            two_at_once=_timed(partial(_in_two_threads, reward)),
            in_turn=_timed(partial(work.sample_and_score, in_turn)),
            overlapped=_timed(partial(work.sample_and_score, overlapped)),
        )


def _in_two_threads(function: Callable[[], None]) -> None:
    with ThreadPoolExecutor(2) as pool:
        wait([pool.submit(function) for _ in range(2)])


def _timed(function: Callable[[], None]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


def _nobody(images: Tensor, prompts: Sequence[Prompt]) -> None:
    """Ignore the images."""


def _show(found: dict[str, list[Round]], batches: int) -> None:
    table = Table(title=f"{batches} batches, seconds; medians, and the least and most speed")
    table.add_column("the reward")
    seconds = ("sampling", "scoring", "in turn", "overlapped")
    for column in (*seconds, "two at once", "speed, predicted", "measured"):
        table.add_column(column, justify="right")
    for name, rounds in found.items():
        predicted = [one.predicted(batches) for one in rounds]
        expected = statistics.median(apart / together for apart, together in predicted)
        pairs = statistics.median(2 * one.scoring / one.two_at_once for one in rounds)
        speeds = sorted(one.in_turn / one.overlapped for one in rounds)
        cells = [
            statistics.median(getattr(one, column) for one in rounds)
            for column in ("sampling", "scoring", "in_turn", "overlapped")
        ]
        table.add_row(
            name,
            *(f"{cell:.2f}" for cell in cells),
            f"{pairs:.2f}",
            f"{expected:.2f}",
            f"{statistics.median(speeds):.2f} ({speeds[0]:.2f} to {speeds[-1]:.2f})",
        )
    Console().print(table)


def _parse() -> Options:
    parser = argparse.ArgumentParser(
        description="Scoring a batch while the next is sampled, against one after the other.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", default=SMALL, help=f"{SMALL}, or a hub id that is shipped")
    parser.add_argument("--resolution", type=int, default=64)
    parser.add_argument("--sampler-steps", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--images", type=int, default=1, help="images of a batch")
    parser.add_argument(
        "--cost", type=float, default=1.0, help="time to score a batch, in times to sample one"
    )
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
