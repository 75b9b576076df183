"""What the balance costs: ``python benchmarks/step_cost.py [RECIPE] [--rounds N] [--json OUT]``.

One rollout of the recipe's model; then, in turn and in one process, the update step of each
variant, so that whatever else the machine does weighs on all alike. Reported are medians, and
the speed of a whole step (rollout and update) relative to ``single, as published``: one reward,
three forward passes and one backward a micro-batch.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from marblecli.maths.balance import balance
from marblecli.maths.gram import gradient_stats, gram_matrix
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.collect import collect, loss_settings, training_batch
from marblecli.train.gradients import (
    RewardGradients,
    amortised_backward,
    contracted_gradients,
    reward_gradients,
)
from marblecli.train.session import Session
from opening import opened

Update = Callable[[], None]


@dataclass(frozen=True)
class Bench:
    """A model, a batch of it, and the constants of the loss."""

    session: Session
    batch: TrainingBatch
    settings: LossSettings

    def with_rewards(self, count: int) -> Bench:
        """The same images judged by ``count`` random rewards."""
        rng = torch.Generator().manual_seed(count)
        optimality = torch.rand(len(self.batch.latents), count, generator=rng)
        shares = torch.full_like(optimality, 1 / len(optimality))
        device = self.batch.latents.device
        batch = replace(self.batch, optimality=optimality.to(device), shares=shares.to(device))
        return replace(self, batch=batch)


def main() -> None:
    """Parse, measure, print."""
    options = _parse()
    overrides = [*options.set, f"training.micro_batch_size={options.micro_batch_size}"]
    with opened(options.recipe, overrides) as session:
        bench, rollout_seconds = _prepare(session)
        seconds = _measure(_variants(bench, options.anchor_share), options.rounds)
    baseline = rollout_seconds + seconds["single, as published"]
    rows = [
        {
            "variant": name,
            "update_seconds": value,
            "update_speed": seconds["single, as published"] / value,
            "step_speed": baseline / (rollout_seconds + value),
        }
        for name, value in seconds.items()
    ]
    _show(rows, rollout_seconds)
    if options.json is not None:
        document = {"rollout_seconds": rollout_seconds, "rounds": options.rounds, "rows": rows}
        options.json.write_text(json.dumps(document, indent=2))


def _prepare(session: Session) -> tuple[Bench, float]:
    collect(session, 1)
    started = time.perf_counter()
    collected = collect(session, 2)
    rollout_seconds = time.perf_counter() - started
    batch = training_batch(session, 2, collected)
    _move_apart(session)
    return Bench(session, replace(batch, slices={}), loss_settings(session.recipe)), rollout_seconds


@torch.no_grad()
def _move_apart(session: Session) -> None:
    """Trained and old policy differ, as they do from the second step on."""
    generator = torch.Generator().manual_seed(0)
    for parameter in session.policies.trained_parameters().values():
        noise = torch.randn(parameter.shape, generator=generator).to(parameter)
        parameter.add_(1e-3 * noise)


def _variants(bench: Bench, anchor_share: float) -> dict[str, Update]:
    one = bench.with_rewards(1)
    variants: dict[str, Update] = {
        "single, as published": partial(_amortised, one),
        "single, sparse anchor": partial(_contracted, one, anchor_share),
        "amortised, K = 5": partial(_amortised, bench.with_rewards(5)),
        "K + 1 backward passes, K = 5": partial(_backward, bench.with_rewards(5)),
        "two passes, K = 5": partial(_contracted, bench.with_rewards(5), 1.0),
    }
    for count in (2, 5, 10, 20):
        update = partial(_contracted, bench.with_rewards(count), anchor_share)
        variants[f"two passes, sparse anchor, K = {count}"] = update
    return variants


def _amortised(bench: Bench) -> None:
    """Coefficients are at hand; one backward pass a micro-batch."""
    coefficients = torch.ones(bench.batch.optimality.shape[1])
    amortised_backward(bench.session.policies, bench.batch, bench.settings, coefficients)
    _step(bench)


def _contracted(bench: Bench, anchor_share: float) -> None:
    gradients = contracted_gradients(
        bench.session.policies, bench.batch, bench.settings, anchor_share
    )
    _balanced(bench, gradients)


def _backward(bench: Bench) -> None:
    _balanced(bench, reward_gradients(bench.session.policies, bench.batch, bench.settings))


def _balanced(bench: Bench, gradients: RewardGradients) -> None:
    gram = gram_matrix(block.flatten(0, 1) for block in gradients.blocks)
    count = bench.batch.optimality.shape[1]
    whole = gram.reshape(-1, count, len(gram) // count, count).sum((0, 2))
    stats = gradient_stats([str(k) for k in range(count)], whole, [1] * count)
    chosen = balance(stats, "marble", np.ones(count))
    direction = gradients.combine(torch.from_numpy(chosen.coefficients))
    parameters = bench.session.policies.trained_parameters().values()
    for parameter, gradient in zip(parameters, direction, strict=True):
        parameter.grad = gradient
    _step(bench)


def _step(bench: Bench) -> None:
    """Clip and step by nothing, so that every variant sees the same weights."""
    parameters = list(bench.session.policies.trained_parameters().values())
    bench.session.accelerator.clip_grad_norm_(parameters, 1.0)
    for group in bench.session.optimizer.param_groups:
        group["lr"] = 0.0
    bench.session.optimizer.step()
    bench.session.optimizer.zero_grad(set_to_none=True)


def _measure(variants: dict[str, Update], rounds: int) -> dict[str, float]:
    """Median seconds of each; all take turns, and the first round isn't counted."""
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, update in variants.items():
            _synchronise()
            started = time.perf_counter()
            update()
            _synchronise()
            seconds[name].append(time.perf_counter() - started)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def _synchronise() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _show(rows: list[dict[str, float | str]], rollout_seconds: float) -> None:
    table = Table(title=f"One step; the rollout takes {rollout_seconds:.2f} s")
    table.add_column("variant")
    for column in ("update, s", "update speed", "speed of the whole step"):
        table.add_column(column, justify="right")
    for row in rows:
        table.add_row(
            str(row["variant"]),
            f"{row['update_seconds']:.3f}",
            f"{row['update_speed']:.2f}",
            f"{row['step_speed']:.2f}",
        )
    Console().print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What the balance costs, against one reward trained as published.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/quickstart.toml"))
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--micro-batch-size", type=int, default=18)
    parser.add_argument("--anchor-share", type=float, default=0.125)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
