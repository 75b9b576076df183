"""Write the prompt files of the quickstart: ``python recipes/prompts/write_quickstart.py DIR``.

The scenes are drawn from the whole grammar, and those held out are never trained on. There are many
training prompts, so that a run learns to follow prompts rather than these prompts. The files are
the same on every run.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from marble_reward_shapes.scenes import ALL_SCENES, Scene
from prompt_writing import write_lines

_SEED = 2026
_TRAIN = {"count": 84, "position": 156, "text": 240}
"""Training scenes of each kind: as many with objects as with letters, and all the counts there
are."""
_HELD_OUT = 24
"""Scenes of each kind that are held out."""

Split = tuple[list[Scene], list[Scene]]
"""Training and held-out scenes."""


def choose_scenes() -> Mapping[str, Sequence[Scene]]:
    """The scenes of each file, by its name without ``.jsonl``."""
    rng = np.random.default_rng(_SEED)
    count, position, text = (_split(rng, kind) for kind in ("count", "position", "text"))
    return {
        "composition-train": count[0] + position[0],
        "composition-held-out": count[1] + position[1],
        "letters-train": text[0],
        "letters-held-out": text[1],
    }


def write_prompts(folder: Path) -> None:
    """Write one ``.jsonl`` file for each entry of :func:`choose_scenes`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, scenes in choose_scenes().items():
        lines = [json.dumps(scene.metadata()) for scene in scenes]
        write_lines(folder / f"{name}.jsonl", lines, len(lines))


def _split(rng: np.random.Generator, kind: str) -> Split:
    """Some scenes of the kind for training, and others held out."""
    scenes = ALL_SCENES[kind]
    order = rng.permutation(len(scenes))[: _TRAIN[kind] + _HELD_OUT]
    drawn = [scenes[index] for index in order]
    return drawn[_HELD_OUT:], drawn[:_HELD_OUT]


def main() -> None:
    """Write the files to the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the quickstart's prompt files.")
    parser.add_argument("folder", type=Path)
    write_prompts(parser.parse_args().folder)


if __name__ == "__main__":
    main()
