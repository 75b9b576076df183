from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from marble_reward_shapes.composition import soft_composition, strict_composition
from marble_reward_shapes.scenes import ALL_SCENES, Group, Scene, render

TWO_RED = Scene("gray", (Group("circle", "red", 2),))
LEFT = Scene("black", (Group("square", "red", 1), Group("triangle", "blue", 1)), "left of")


def scores(shown: Scene, wanted: Scene, seed: int = 0) -> tuple[float, float]:
    """Soft and strict score of a drawing of ``shown`` for the prompt of ``wanted``."""
    images = render(shown, np.random.default_rng(seed))[None]
    metadata = [wanted.metadata()]
    return (
        float(soft_composition(images, metadata)[0]),
        float(strict_composition(images, metadata)[0]),
    )


@pytest.mark.parametrize("kind", ["count", "position"])
def test_scenes_as_drawn_hold(kind: str) -> None:
    rng = np.random.default_rng(0)
    scenes = [ALL_SCENES[kind][i] for i in rng.integers(len(ALL_SCENES[kind]), size=300)]
    images = np.stack([render(scene, rng) for scene in scenes])
    metadata = [scene.metadata() for scene in scenes]
    assert strict_composition(images, metadata).mean() >= 0.99
    soft = soft_composition(images, metadata)
    assert soft.mean() >= 0.95
    assert soft.min() >= 0.0
    assert soft.max() <= 1.0


def changed(scene: Scene, **group: object) -> Scene:
    first = replace(scene.groups[0], **group)  # type: ignore[arg-type] # the fields are of several types
    return replace(scene, groups=(first, *scene.groups[1:]))


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        pytest.param(changed(TWO_RED, count=1), TWO_RED, id="one too few"),
        pytest.param(changed(TWO_RED, count=3), TWO_RED, id="one too many"),
        pytest.param(changed(TWO_RED, shape="square"), TWO_RED, id="another shape"),
        pytest.param(changed(TWO_RED, colour="blue"), TWO_RED, id="another colour"),
        pytest.param(replace(LEFT, relation="right of"), LEFT, id="the other side"),
        pytest.param(replace(LEFT, relation="above"), LEFT, id="another axis"),
        pytest.param(changed(LEFT, shape="circle"), LEFT, id="another first shape"),
        pytest.param(LEFT, Scene("black", LEFT.groups[:1]), id="a stranger"),
    ],
)
def test_what_is_wrong_fails_strictly_and_costs_softly(shown: Scene, wanted: Scene) -> None:
    for seed in range(10):
        soft, strict = scores(shown, wanted, seed)
        right, holds = scores(wanted, wanted, seed)
        assert (holds, strict) == (1.0, 0.0)
        assert soft < right - 0.05


def test_only_strict_asks_for_the_background() -> None:
    soft, strict = scores(replace(TWO_RED, background="white"), TWO_RED)
    assert strict == 0.0
    assert soft > 0.9


def test_part_marks_by_hand() -> None:
    nothing = np.full((1, 32, 32, 3), 128, dtype=np.uint8)
    # Of count, shape and (for a position) their double and the relation, none holds.
    assert soft_composition(nothing, [TWO_RED.metadata()]) == [0.0]
    assert soft_composition(nothing, [LEFT.metadata()]) == [0.0]
    # One circle in place of two: half a count mark less, of two marks.
    one = changed(TWO_RED, count=1)
    assert scores(one, TWO_RED)[0] == pytest.approx(scores(one, one)[0] - 0.25)
    # All that is wanted is there, and one stranger: divided by 1.5; the shape mark is not quite 1.
    soft, _ = scores(LEFT, Scene("black", LEFT.groups[:1]))
    assert 0.9 / 1.5 < soft < 1 / 1.5


def test_scores_go_with_their_images() -> None:
    rng = np.random.default_rng(1)
    scenes = [TWO_RED, LEFT, ALL_SCENES["count"][7], ALL_SCENES["position"][99]]
    images = np.stack([render(scene, rng) for scene in reversed(scenes)])
    metadata = [scene.metadata() for scene in scenes]
    for score in (soft_composition, strict_composition):
        together = score(images, metadata)
        alone = [score(images[[i]], [metadata[i]])[0] for i in range(4)]
        np.testing.assert_array_equal(together, alone)
        np.testing.assert_array_equal(score(images[::-1], metadata[::-1]), together[::-1])


def test_noise_stays_in_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    for wanted in (TWO_RED, LEFT):
        soft = soft_composition(images, [wanted.metadata()] * 20)
        assert np.isfinite(soft).all()
        assert ((soft >= 0) & (soft <= 1)).all()
        assert not strict_composition(images, [wanted.metadata()] * 20).any()
