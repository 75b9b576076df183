"""Write the prompt files of the quickstart: ``python recipes/prompts/write_quickstart.py DIR``.

There are few training prompts, so that a short run sees each of them many times; the held-out ones
are drawn from the rest of the grammar. The files are the same on every run.

A prompt whose images all score the same teaches nothing, so the training prompts are ones that the
tiny pipeline often gets wrong. Of these, single objects were chosen that it often adds others to.
Where it leaves the image empty instead, every object costs JPEG bytes, and no update raises both
composition and compressibility.
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
_TRAIN = {
    "count": (
        "a yellow square on gray",
        "a blue triangle on gray",
        "a yellow triangle on gray",
    ),
    "position": (),
    "text": (
        'the text "IA" in green on black',
        'the text "OI" in yellow on black',
        'the text "VI" in red on black',
        'the text "XX" in blue on black',
    ),
}
"""Objects: the three with the lowest mean composition in 32 images of each, among those where it
and the colour score rise with compressibility (correlations over 0.6). Texts: of each ink on black,
the one whose letters vary most in 24 images of each of 120 drawn texts."""
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
    """The named ones for training, and some of the others held out."""
    named = _TRAIN[kind]
    others = [scene for scene in ALL_SCENES[kind] if scene.prompt not in named]
    drawn = rng.permutation(len(others))[:_HELD_OUT]
    train = [scene for scene in ALL_SCENES[kind] if scene.prompt in named]
    return train, [others[index] for index in drawn]


def main() -> None:
    """Write the files to the folder that the command line names."""
    parser = argparse.ArgumentParser(description="Write the quickstart's prompt files.")
    parser.add_argument("folder", type=Path)
    write_prompts(parser.parse_args().folder)


if __name__ == "__main__":
    main()
