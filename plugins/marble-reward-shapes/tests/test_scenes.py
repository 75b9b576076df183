from __future__ import annotations

import numpy as np
import pytest

from marble_reward_shapes.scenes import (
    ALL_SCENES,
    BACKGROUNDS,
    COLOURS,
    KINDS,
    SIZE,
    Group,
    Scene,
    random_scene,
    render,
    shape_mask,
)


def test_the_grammar_has_as_many_scenes_as_it_says() -> None:
    assert {kind: len(scenes) for kind, scenes in ALL_SCENES.items()} == {
        "count": 3 * 3 * 4 * 3,
        "position": 4 * 3 * 12 * 9,
        "text": 100 * 4 * 3,
    }


def test_every_scene_has_a_prompt_of_its_own() -> None:
    prompts = [scene.prompt for scenes in ALL_SCENES.values() for scene in scenes]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize(
    ("scene", "prompt", "kind"),
    [
        (Scene("gray", (Group("circle", "red", 2),)), "two red circles on gray", "count"),
        (Scene("white", (Group("square", "blue", 1),)), "a blue square on white", "count"),
        (
            Scene("black", (Group("square", "red", 1), Group("triangle", "blue", 1)), "left of"),
            "a red square left of a blue triangle on black",
            "position",
        ),
        (Scene("white", text="HI", ink="red"), 'the text "HI" in red on white', "text"),
    ],
)
def test_prompts_and_kinds(scene: Scene, prompt: str, kind: str) -> None:
    assert scene.prompt == prompt
    assert scene.kind == kind


def test_metadata_says_what_the_prompt_says() -> None:
    position = Scene("black", (Group("square", "red", 1), Group("circle", "blue", 1)), "above")
    assert position.metadata() == {
        "prompt": "a red square above a blue circle on black",
        "background": "black",
        "colours": ["red", "blue"],
        "objects": [
            {"shape": "square", "colour": "red", "count": 1},
            {"shape": "circle", "colour": "blue", "count": 1},
        ],
        "relation": "above",
    }
    assert Scene("white", text="HI", ink="red").metadata() == {
        "prompt": 'the text "HI" in red on white',
        "background": "white",
        "colours": ["red"],
        "text": "HI",
    }


@pytest.mark.parametrize("kind", KINDS)
def test_rendering_follows_its_generator_alone(kind: str) -> None:
    scene = random_scene(np.random.default_rng(0), kind)
    assert scene.kind == kind
    one, two, other = (render(scene, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert (one != other).any()
    assert one.shape == (SIZE, SIZE, 3)
    assert one.dtype == np.uint8


def test_a_scene_shows_its_colours() -> None:
    scene = Scene("white", (Group("square", "red", 1), Group("circle", "blue", 1)), "left of")
    image = render(scene, np.random.default_rng(0))
    pixels = {tuple(int(channel) for channel in pixel) for pixel in image.reshape(-1, 3)}
    assert {COLOURS["red"], COLOURS["blue"], BACKGROUNDS["white"]} <= pixels


@pytest.mark.parametrize(
    ("shape", "area"), [("circle", np.pi * 36), ("square", (0.9 * 12) ** 2), ("triangle", 72.0)]
)
def test_shapes_cover_their_area(shape: str, area: float) -> None:
    mask = shape_mask(shape, 16, 16, 6)
    assert mask.min() == 0.0
    assert mask.max() == 1.0
    assert mask.sum() == pytest.approx(area, rel=0.05)
    np.testing.assert_allclose(mask, mask[:, ::-1])
