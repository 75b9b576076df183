"""A made-up lab whose results are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from marblecli.lab.grid import Cell
from marblecli.lab.results import CellResult, Results
from marblecli.types import EvaluationRecord, ScoredImage
from support.lab import cell_of, record, write_run
from support.records import record_of

REWARDS = ("a", "b")
GAINS = {
    "marble": (0.2, 0.2),
    "equal": (0.3, 0.1),
    "weighted-sum": (0.5, -0.1),
    "specialist-a": (0.6, -0.2),
    "specialist-b": (-0.2, 0.4),
}
"""At the end, by method."""
STEPS = 4


def results(methods: Sequence[str] = tuple(GAINS), seeds: Sequence[int] = (0, 1)) -> Results:
    return Results(
        REWARDS,
        {name: tuple(_cell(name, seed) for seed in seeds) for name in methods},
        missing=("late-seed0",),
    )


def _cell(name: str, seed: int) -> CellResult:
    base = _evaluation(seed, 0, (0.0, 0.0))
    trained = [
        replace(
            _evaluation(seed, step, tuple(gain * step / STEPS for gain in GAINS[name])),
            distances={"held-out": 0.1 * step * sum(map(abs, GAINS[name]))},
        )
        for step in (2, STEPS)
    ]
    vectors = [[1.0, 0.0], [0.0, 1.0]]
    conflicts = tuple(
        record_of(vectors, vectors, names=REWARDS, step=step, cosines={"applied": (0.5, -0.25)})
        for step in range(1, STEPS + 1)
    )
    metrics = tuple(
        {
            "step": step,
            "seconds": 1.5,
            "rewards": {"a": 0.1 * step, "b": 0.2},
            "passes": {"forward": 100, "backward": 50},
        }
        for step in range(1, STEPS + 1)
    )
    return CellResult(cell_of(Path("lab"), name, seed), base, tuple(trained), metrics, conflicts)


def _evaluation(seed: int, step: int, gains: Sequence[float]) -> EvaluationRecord:
    """All methods share the images' deviations; the gains differ a little from image to image."""
    rng = np.random.default_rng(seed)
    images = {
        split: tuple(
            ScoredImage(
                f"{split} {place}",
                "even" if place % 2 == 0 else "odd",
                place,
                number,
                {
                    name: float(rng.normal() + gain * (1.0 + 0.1 * rng.normal()))
                    for name, gain in zip(REWARDS, gains, strict=True)
                },
            )
            for place in range(8)
            for number in range(2)
        )
        for split in ("train", "held-out")
    }
    return EvaluationRecord(step, "trained" if step else "base", images, seed=seed)


def write_cells(cells: Sequence[Cell]) -> None:
    """The run directories of cells whose methods are among :data:`GAINS`."""
    for cell in cells:
        found = _cell(cell.method, cell.seed)
        write_run(cell, STEPS, STEPS)
        (cell.directory / "evaluations.jsonl").unlink()
        for each in (found.base, *found.trained):
            record(cell, each)
