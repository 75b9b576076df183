"""Write the prompt files of the quickstart: ``python -m marble_reward_shapes.write_prompts DIR``.

Few training prompts, so that a short run sees each of them many times, chosen to cover the
grammar; the held-out ones are drawn from the rest. The training prompts of a count are single
objects that the tiny pipeline often gets wrong (no object, or company): a prompt whose images all
score the same teaches nothing. The same files on every run.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from marble_reward_shapes.scenes import ALL_SCENES, BACKGROUNDS, COLOURS, SHAPES, Scene

_SEED = 2026
_TRAIN = {"position": 2, "text": 4}
_HARD = (
    "a green triangle on black",
    "a red square on black",
    "a yellow triangle on white",
    "a red triangle on black",
)
"""The four single objects with the lowest mean score in 32 images of each."""
_HELD_OUT = 24
"""Of each kind."""

Split = tuple[list[Scene], list[Scene]]
"""Training and held-out scenes."""


def choose_scenes() -> Mapping[str, Sequence[Scene]]:
    """The scenes of each file, by its name without ``.jsonl``."""
    rng = np.random.default_rng(_SEED)
    count = _split_counts(rng)
    position = _split(rng, "position", _covers_positions)
    text = _split(rng, "text", _covers_texts)
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
        lines = [json.dumps(scene.metadata()) + "\n" for scene in scenes]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def _split_counts(rng: np.random.Generator) -> Split:
    """The hard ones for training, any others held out."""
    others = [scene for scene in ALL_SCENES["count"] if scene.prompt not in _HARD]
    drawn = rng.permutation(len(others))[:_HELD_OUT]
    hard = [scene for scene in ALL_SCENES["count"] if scene.prompt in _HARD]
    return hard, [others[index] for index in drawn]


def _split(rng: np.random.Generator, kind: str, covers: Callable[[Sequence[Scene]], bool]) -> Split:
    """Shuffle until the first few scenes cover the grammar; the next ones are held out."""
    scenes, count = ALL_SCENES[kind], _TRAIN[kind]
    while True:
        order = rng.permutation(len(scenes))[: count + _HELD_OUT]
        drawn = [scenes[index] for index in order]
        if covers(drawn[:count]):
            return drawn[:count], drawn[count:]


def _covers_positions(scenes: Sequence[Scene]) -> bool:
    return (
        len({scene.relation for scene in scenes}) == len(scenes)
        and {group.colour for scene in scenes for group in scene.groups} == set(COLOURS)
        and {group.shape for scene in scenes for group in scene.groups} == set(SHAPES)
    )


def _covers_texts(scenes: Sequence[Scene]) -> bool:
    letters = set(itertools.chain.from_iterable(scene.text for scene in scenes))
    return (
        len(letters) == 2 * len(scenes)
        and {scene.ink for scene in scenes} == set(COLOURS)
        and _covers_backgrounds(scenes)
    )


def _covers_backgrounds(scenes: Sequence[Scene]) -> bool:
    return {scene.background for scene in scenes} == set(BACKGROUNDS)


def main() -> None:
    """Write the files to the folder named on the command line."""
    parser = argparse.ArgumentParser(description="Write the quickstart's prompt files.")
    parser.add_argument("folder", type=Path)
    write_prompts(parser.parse_args().folder)


if __name__ == "__main__":
    main()
