"""The shipped weights draw what their README says, with margins of about four standard errors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from marble_reward_shapes.composition import strict_composition
from marble_reward_shapes.letters import strict_letters
from marble_reward_shapes.scenes import ALL_SCENES, Scene
from marble_reward_shapes.tiny_sd3.quality import describe, sample


def draw(
    pipeline: StableDiffusion3Pipeline, kind: str, count: int, guidance: float = 1.0
) -> tuple[list[Scene], np.ndarray]:
    order = np.random.default_rng(5).permutation(len(ALL_SCENES[kind]))[:count]
    scenes = [ALL_SCENES[kind][index] for index in order]
    generator = torch.Generator().manual_seed(5)
    return scenes, sample(pipeline, scenes, steps=10, generator=generator, guidance=guidance)


def strict_share(pipeline: StableDiffusion3Pipeline, kind: str, guidance: float = 1.0) -> float:
    scenes, images = draw(pipeline, kind, 100, guidance)
    strict = strict_letters if kind == "text" else strict_composition
    return float(strict(images, [scene.metadata() for scene in scenes]).mean())


@pytest.mark.parametrize(("kind", "least"), [("count", 0.4), ("position", 0.85), ("text", 0.88)])
def test_strict_share(shipped: StableDiffusion3Pipeline, kind: str, least: float) -> None:
    assert strict_share(shipped, kind) >= least


@pytest.mark.parametrize(
    ("kind", "most", "guided"), [("count", 0.42, 0.38), ("position", 0.56, 0.8), ("text", 0.6, 0.7)]
)
def test_the_loose_pipeline_has_room_that_guidance_shows(
    loose: StableDiffusion3Pipeline, kind: str, most: float, guided: float
) -> None:
    alone = strict_share(loose, kind)
    assert 0.05 < alone <= most
    assert strict_share(loose, kind, guidance=3.0) >= max(guided, alone + 0.1)


def test_a_plain_call_draws_the_prompt(shipped: StableDiffusion3Pipeline) -> None:
    """Default guidance, steps and T5 length."""
    scene = next(s for s in ALL_SCENES["text"] if s.text == "HI" and s.ink == "red")
    image = shipped(scene.prompt, generator=torch.Generator().manual_seed(0)).images[0]
    assert strict_letters(np.asarray(image)[None], [scene.metadata()])[0] == 1.0


def test_description_names_the_kind_and_its_scores(shipped: StableDiffusion3Pipeline) -> None:
    scenes, images = draw(shipped, "position", 4)
    line = describe("position", scenes, images)
    assert line.startswith("position")
    assert line.endswith("n 4")
