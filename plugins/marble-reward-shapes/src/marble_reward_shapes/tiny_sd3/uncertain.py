"""Which prompts a pipeline gets right only sometimes: the ones that teach.

``python -m marble_reward_shapes.tiny_sd3.uncertain FOLDER`` samples each candidate prompt a few
times and writes those whose composition or letters vary most to ``uncertain.json``, from which
``write_prompts`` draws training and held-out prompts alike. A prompt whose images all score the
same gives no advantage, whatever the method.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.utils.logging import set_verbosity_error

from marble_reward_shapes.composition import soft_composition
from marble_reward_shapes.letters import soft_letters
from marble_reward_shapes.scenes import ALL_SCENES, KINDS, Scene
from marble_reward_shapes.tiny_sd3.quality import sample
from marble_reward_shapes.write_prompts import UNCERTAIN

_CANDIDATES = 400
"""Of each kind, at most."""
_IMAGES = 6
_KEPT = 60


def main() -> None:
    """Parse the command line, sample, write."""
    parser = argparse.ArgumentParser(description="Find the prompts that a pipeline is unsure of.")
    parser.add_argument("folder", type=Path, help="the pipeline")
    parser.add_argument("--out", type=Path, default=UNCERTAIN)
    options = parser.parse_args()
    set_verbosity_error()
    pipeline = StableDiffusion3Pipeline.from_pretrained(options.folder)
    pipeline.set_progress_bar_config(disable=True)
    found = {kind: _most_uncertain(pipeline, kind) for kind in KINDS}
    options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def _most_uncertain(pipeline: StableDiffusion3Pipeline, kind: str) -> list[str]:
    order = np.random.default_rng(0).permutation(len(ALL_SCENES[kind]))[:_CANDIDATES]
    scenes = [ALL_SCENES[kind][index] for index in order]
    ranked = np.argsort(-_spread(pipeline, scenes))
    return [scenes[index].prompt for index in ranked[:_KEPT]]


def _spread(pipeline: StableDiffusion3Pipeline, scenes: Sequence[Scene]) -> np.ndarray:
    """[scenes], the standard deviation of each scene's own soft reward over its images."""
    generator = torch.Generator().manual_seed(0)
    spread = []
    for start in range(0, len(scenes), 20):
        each = [scene for scene in scenes[start : start + 20] for _ in range(_IMAGES)]
        images = sample(pipeline, each, steps=8, generator=generator)
        metadata = [scene.metadata() for scene in each]
        score = soft_letters if each[0].kind == "text" else soft_composition
        spread.append(score(images, metadata).reshape(-1, _IMAGES).std(axis=1))
    return np.concatenate(spread)


if __name__ == "__main__":
    main()
