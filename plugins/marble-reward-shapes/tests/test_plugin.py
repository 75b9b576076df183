from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from marble_reward_shapes.plugin import COLOUR, COMPOSITION, LETTERS
from marble_reward_shapes.scenes import ALL_SCENES, Group, Scene, render
from marblecli.rewards import RewardBatch
from marblecli.rewards.host import RewardCatalog, discover
from marblecli.rewards.testing import check_reward

SCENES = {
    "count": Scene("gray", (Group("circle", "red", 2),)),
    "text": Scene("white", text="HI", ink="blue"),
}
NEEDS = {
    "shapes-aesthetic": (),
    "shapes-colour": ("background", "colours"),
    "shapes-composition": ("background", "objects", "relation"),
    "shapes-compressibility": (),
    "shapes-evenness": (),
    "shapes-letters": ("background", "colours", "text"),
}


@pytest.fixture(scope="module")
def catalog() -> RewardCatalog:
    return discover()


def batch_of(scene: Scene) -> RewardBatch:
    images = np.stack([render(scene, np.random.default_rng(seed)) for seed in range(3)])
    metadata: list[dict[str, Any]] = [scene.metadata()] * 3
    return RewardBatch(images, [scene.prompt] * 3, metadata)


def test_it_is_found_as_a_strangers_package_is(catalog: RewardCatalog) -> None:
    ours = [r for r in catalog.rewards.values() if r.distribution == "marble-reward-shapes"]
    assert {reward.spec.name: reward.spec.metadata for reward in ours} == NEEDS
    assert not [f for f in catalog.failures if f.distribution == "marble-reward-shapes"]


def test_two_rewards_apply_only_to_their_own_prompts() -> None:
    def applying(kind: str) -> set[str]:
        fields = SCENES[kind].metadata()
        return {name for name, needs in NEEDS.items() if all(need in fields for need in needs)}

    assert applying("count") == NEEDS.keys() - {"shapes-letters"}
    assert applying("text") == NEEDS.keys() - {"shapes-composition"}


@pytest.mark.parametrize("name", NEEDS)
def test_each_scores_clean_images_within_its_range(catalog: RewardCatalog, name: str) -> None:
    kind = "text" if name == "shapes-letters" else "count"
    scores = np.asarray(catalog.build(name, {}, "cpu")(batch_of(SCENES[kind])))
    low, high = catalog.get(name).spec.range
    assert scores.shape == (3,)
    assert ((scores >= low) & (scores <= high)).all()
    assert scores.min() > 0.25


@pytest.mark.parametrize(
    ("name", "kind"), [("shapes-composition", "count"), ("shapes-letters", "text")]
)
def test_strict_scoring_is_an_option(catalog: RewardCatalog, name: str, kind: str) -> None:
    strict = catalog.build(name, {"scoring": "strict"}, "cpu")(batch_of(SCENES[kind]))
    soft = catalog.build(name, {"scoring": "soft"}, "cpu")(batch_of(SCENES[kind]))
    default = catalog.build(name, {}, "cpu")(batch_of(SCENES[kind]))
    assert np.asarray(strict).tolist() == [1.0] * 3
    np.testing.assert_array_equal(np.asarray(soft), np.asarray(default))
    assert (np.asarray(soft) < 1.0).all()


def test_wrong_options_are_named(catalog: RewardCatalog) -> None:
    (problem,) = catalog.check_options("shapes-letters", {"scoring": "hard"})
    assert str(problem) == (
        "rewards.shapes-letters.scoring: must be 'soft' or 'strict', got \"hard\""
    )
    (problem,) = catalog.check_options("shapes-colour", {"scoring": "soft"})
    assert "unknown key" in problem.message


def test_registering_imports_no_scorer() -> None:
    code = "import sys, marble_reward_shapes.plugin;"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'scipy', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_examples_are_prompts_of_the_grammar() -> None:
    scenes = {scene.prompt: scene.metadata() for kind in ALL_SCENES.values() for scene in kind}
    for spec in (COLOUR, COMPOSITION, LETTERS):
        for example in spec.examples:
            asked = scenes[example.text]
            assert all(asked[key] == value for key, value in example.metadata.items())
            assert spec.applies(example, None)


@pytest.mark.parametrize("name", NEEDS)
def test_every_reward_keeps_the_contract(name: str) -> None:
    check_reward(name).raise_if_failed()
