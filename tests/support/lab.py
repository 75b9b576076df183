"""Labs without training: made-up cells, and a program that pretends to be ``marble``."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

from marblecli.lab.grid import Cell
from marblecli.runs.evaluations import evaluation_to_json
from marblecli.runs.json_lines import append_line
from marblecli.runs.schema import stamped
from marblecli.types import EvaluationRecord, ScoredImage

PRETENDER = '''
"""Pretends to be marble: ``train RECIPE --set training.steps=N --run-dir DIR``, ``resume DIR``.

Each step takes a moment. A cell whose name has "fails" exits with 1 after a step, and one whose
name has "killed" kills itself the first time.
"""
import json, os, pathlib, signal, sys, time

arguments = sys.argv[1:]
folder = pathlib.Path(arguments[-1])
asked = []
signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
steps = 3
if arguments[0] == "train":
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.toml").write_text(f"[training]\\nsteps = {steps}\\n[eval]\\nevery = 0\\n")
print(*arguments, "threads", os.environ["OMP_NUM_THREADS"], flush=True)


def evaluated(step, subject):
    line = {"step": step, "subject": subject, "images": {}, "seed": 0, "seconds": 1.0}
    with (folder / "evaluations.jsonl").open("a") as file:
        file.write(json.dumps(line) + "\\n")


done = len(list((folder / "checkpoints").iterdir()))
if not done:
    evaluated(0, "base")
for step in range(done + 1, steps + 1):
    if "fails" in folder.name and step > 1:
        sys.exit("this cell fails")
    if "killed" in folder.name and arguments[0] == "train" and step > 1:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.05)
    while "slow" in folder.name and not asked and arguments[0] == "train":
        time.sleep(0.02)
    if asked:
        sys.exit(130)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": step, "seconds": 0.05}) + "\\n")
    if step == steps:
        evaluated(step, "trained")
    (folder / "checkpoints" / f"step-{step:06d}").mkdir()
'''


def pretender(folder: Path) -> tuple[str, ...]:
    """What takes the place of ``marble``."""
    program = folder / "pretender.py"
    program.write_text(PRETENDER)
    return (sys.executable, str(program))


def cell_of(folder: Path, method: str, seed: int = 0) -> Cell:
    directory = folder / "cells" / f"{method}-seed{seed}"
    return Cell(method, seed, folder / "recipe.toml", (f"run.seed={seed}",), directory)


def write_run(cell: Cell, step: int, steps: int = 4, every: int = 0, *, saved: bool = True) -> None:
    """A run directory after ``step`` steps of half a second each, and evaluations of two."""
    folder = cell.directory
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "recipe.toml").write_text(
        f"[training]\nsteps = {steps}\n[eval]\nevery = {every}\n[balance]\nmethod = 'x'\n"
        "[rewards.a]\n[rewards.b]\n"
    )
    for number in range(1, step + 1):
        append_line(folder / "metrics.jsonl", stamped({"step": number, "seconds": 0.5}))
    record(cell, EvaluationRecord(0, "base", {}, seed=cell.seed, seconds=2.0))
    if step == steps:
        record(cell, EvaluationRecord(step, "trained", {}, seed=cell.seed, seconds=2.0))
    if saved:
        (folder / "checkpoints" / f"step-{step:06d}").mkdir()


def record(cell: Cell, evaluation: EvaluationRecord) -> None:
    line = stamped(evaluation_to_json(evaluation))
    append_line(cell.directory / "evaluations.jsonl", line)


def evaluation(
    step: int,
    scores: Mapping[str, list[list[float | None]]],
    seed: int = 0,
    split: str = "held-out",
) -> EvaluationRecord:
    """``scores`` are by reward, prompt and image."""
    first = next(iter(scores.values()))
    images = tuple(
        ScoredImage(
            prompt=f"prompt {place}",
            source="even" if place % 2 == 0 else "odd",
            place=place,
            number=number,
            scores={name: values[place][number] for name, values in scores.items()},
        )
        for place, of_prompt in enumerate(first)
        for number in range(len(of_prompt))
    )
    return EvaluationRecord(step, "trained" if step else "base", {split: images}, seed=seed)
