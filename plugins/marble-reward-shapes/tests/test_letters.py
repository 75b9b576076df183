from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from marble_reward_shapes.letters import soft_letters, strict_letters
from marble_reward_shapes.scenes import ALL_SCENES, BACKGROUNDS, Scene, render

HI = Scene("white", text="HI", ink="red")


def drawing(scene: Scene, seed: int = 0) -> np.ndarray:
    return render(scene, np.random.default_rng(seed))[None]


def test_letters_as_drawn_are_read() -> None:
    rng = np.random.default_rng(0)
    scenes = [ALL_SCENES["text"][i] for i in rng.integers(1200, size=300)]
    images = np.stack([render(scene, rng) for scene in scenes])
    metadata = [scene.metadata() for scene in scenes]
    assert strict_letters(images, metadata).mean() >= 0.99
    soft = soft_letters(images, metadata)
    assert soft.mean() >= 0.8
    assert soft.max() <= 1.0


@pytest.mark.parametrize("text", ["HL", "OI", "IH", "XX"])
def test_other_letters_fail_strictly_and_cost_softly(text: str) -> None:
    for seed in range(5):
        image = drawing(replace(HI, text=text), seed)
        right = drawing(HI, seed)
        assert strict_letters(image, [HI.metadata()]) == [0.0]
        assert strict_letters(right, [HI.metadata()]) == [1.0]
        assert soft_letters(image, [HI.metadata()]) < soft_letters(right, [HI.metadata()]) - 0.1


def test_every_letter_is_told_from_every_other() -> None:
    for scene in ALL_SCENES["text"]:
        if (scene.background, scene.ink) == ("white", "red"):
            assert strict_letters(drawing(scene), [scene.metadata()]) == [1.0], scene.text


def test_the_ink_must_be_the_one_asked_for() -> None:
    on_black = Scene("black", text="HI", ink="red")
    blank = np.full((1, 32, 32, 3), BACKGROUNDS["black"][0], dtype=np.uint8)
    assert strict_letters(blank, [on_black.metadata()]) == [0.0]
    assert soft_letters(blank, [on_black.metadata()]) == [0.0]


def test_faint_letters_earn_less_than_legible_ones() -> None:
    clear = drawing(HI).astype(float)
    noise = np.random.default_rng(0).normal(0, 60, clear.shape)
    noisy = np.clip(clear + noise, 0, 255).astype(np.uint8)
    assert soft_letters(noisy, [HI.metadata()]) < soft_letters(drawing(HI), [HI.metadata()])


def test_scores_go_with_their_images() -> None:
    scenes = [HI, replace(HI, text="XO"), replace(HI, background="gray")]
    images = np.concatenate([drawing(scene, seed) for seed, scene in enumerate(reversed(scenes))])
    metadata = [scene.metadata() for scene in scenes]
    for score in (soft_letters, strict_letters):
        together = score(images, metadata)
        alone = [score(images[[i]], [metadata[i]])[0] for i in range(3)]
        np.testing.assert_allclose(together, alone, rtol=1e-12)
        np.testing.assert_allclose(score(images[::-1], metadata[::-1]), together[::-1], rtol=1e-12)


def test_noise_stays_in_range() -> None:
    images = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    soft = soft_letters(images, [HI.metadata()] * 20)
    assert np.isfinite(soft).all()
    assert ((soft >= 0) & (soft <= 1)).all()
    assert not strict_letters(images, [HI.metadata()] * 20).any()
