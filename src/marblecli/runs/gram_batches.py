"""One Gram matrix or many: a file, a folder of files, or the measured batches of a run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marblecli.errors import BadInputError, one_of
from marblecli.runs import records
from marblecli.runs.gradient_files import read_gradient_stats
from marblecli.runs.run import Run
from marblecli.types import GradientStats

SUFFIXES = (".csv", ".json", ".npy", ".safetensors")
"""Which files of a folder are read."""


@dataclass(frozen=True)
class GramBatch:
    """The gradients of one batch."""

    name: str
    """The file's name, or ``step 12``."""
    step: int
    """The step of the run, or the file's place in its folder, from 1."""
    stats: GradientStats


def is_many(path: Path) -> bool:
    """Whether ``path`` stands for a series of batches, even if there is only one in it."""
    return path.is_dir() or path.name == records.FILE_NAME


def read_gram_batches(path: Path) -> tuple[GramBatch, ...]:
    """At least one batch, in order.

    ``path`` is a file as :func:`read_gradient_stats` takes it, a folder of such files (in order of
    their names), a run directory or its ``conflicts.jsonl``.
    Raises BadInputError as the readers do, and for a folder that holds none of these.
    """
    if path.name == records.FILE_NAME or (path / records.FILE_NAME).is_file():
        run_dir = path.parent if path.name == records.FILE_NAME else path
        return tuple(
            GramBatch(f"step {record.step}", record.step, _stats(record.rewards, record.gram))
            for record in Run(run_dir).conflicts()
        )
    if not path.is_dir():
        return (GramBatch(path.name, 1, read_gradient_stats(path)),)
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise BadInputError(
            f"{path} holds no {records.FILE_NAME} and no Gram or gradient file: {one_of(SUFFIXES)}"
        )
    return tuple(
        GramBatch(file.name, place, read_gradient_stats(file))
        for place, file in enumerate(files, start=1)
    )


def _stats(names: tuple[str, ...], matrix: tuple[tuple[float, ...], ...]) -> GradientStats:
    gram = np.array(matrix)
    return GradientStats(names, gram, np.diag(gram) > 0.0)
