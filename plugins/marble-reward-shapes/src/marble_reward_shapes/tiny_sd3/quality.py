"""How well a pipeline draws: ``python -m marble_reward_shapes.tiny_sd3.quality FOLDER``.

Prints the share of images that pass the strict checks, for each kind of prompt, and can write a
grid of samples.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from diffusers.utils.logging import set_verbosity_error
from PIL import Image

from marble_reward_shapes.colour import colour_match
from marble_reward_shapes.composition import soft_composition, strict_composition
from marble_reward_shapes.letters import soft_letters, strict_letters
from marble_reward_shapes.scenes import KINDS, Scene, random_scene

_log = logging.getLogger("marble_reward_shapes.tiny_sd3")
_GRID_COLUMNS = 12


def main() -> None:
    """Parse the command line, sample, report."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options = _parse()
    set_verbosity_error()
    pipeline = StableDiffusion3Pipeline.from_pretrained(options.folder)
    pipeline.set_progress_bar_config(disable=True)
    rng = np.random.default_rng(options.seed)
    rows = []
    for kind in KINDS:
        scenes = [random_scene(rng, kind) for _ in range(options.count)]
        images = sample(
            pipeline,
            scenes,
            steps=options.steps,
            generator=torch.Generator().manual_seed(options.seed),
            guidance=options.guidance,
            nulls=options.nulls,
        )
        _log.info("%s", describe(kind, scenes, images))
        rows.append(np.concatenate(images[:_GRID_COLUMNS], axis=1))
    if options.grid is not None:
        grid = Image.fromarray(np.concatenate(rows))
        grid.resize((grid.width * 3, grid.height * 3), Image.Resampling.NEAREST).save(options.grid)


def sample(
    pipeline: StableDiffusion3Pipeline,
    scenes: Sequence[Scene],
    steps: int,
    generator: torch.Generator,
    guidance: float = 1.0,
    nulls: int = 1,
) -> np.ndarray:
    """uint8 [B, H, W, 3], through nothing but the pipeline's own call.

    ``guidance`` 1 is without; ``nulls`` is the length of the T5 part.
    """
    result = pipeline(
        [scene.prompt for scene in scenes],
        guidance_scale=guidance,
        num_inference_steps=steps,
        max_sequence_length=nulls,
        generator=generator,
        output_type="np",
    )
    return np.asarray(np.round(255 * result.images).astype(np.uint8))


def describe(kind: str, scenes: list[Scene], images: np.ndarray) -> str:
    """One line of mean scores."""
    metadata = [scene.metadata() for scene in scenes]
    colour = colour_match(images, metadata).mean()
    strict, soft = (
        (strict_letters, soft_letters) if kind == "text" else (strict_composition, soft_composition)
    )
    return (
        f"{kind:9s} strict {strict(images, metadata).mean():.3f}  "
        f"soft {soft(images, metadata).mean():.3f}  colour {colour:.3f}  n {len(scenes)}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m marble_reward_shapes.tiny_sd3.quality",
        description="Score a pipeline with the strict checks.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="the pipeline")
    parser.add_argument("--count", type=int, default=120, help="prompts of each kind")
    parser.add_argument("--guidance", type=float, default=1.0, help="1 is without guidance")
    parser.add_argument("--steps", type=int, default=10, help="solver steps")
    parser.add_argument("--nulls", type=int, default=1, help="max_sequence_length of the call")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--grid", type=Path, help="write a grid of samples to this PNG")
    return parser.parse_args()


if __name__ == "__main__":
    main()
