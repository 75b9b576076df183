from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.rewards import RewardBatch
from marblecli.rewards.host import RewardCatalog, discover
from marblecli.rewards.testing import check_reward

GUARDS = {"colourfulness": (0.0, 109.0), "contrast": (16.0, 90.0), "sharpness": (0.1, 3.0)}
NAMES = ("jpeg", *GUARDS)


@pytest.fixture(scope="module")
def catalog() -> RewardCatalog:
    return discover()


@pytest.fixture
def batch() -> RewardBatch:
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 48, 3), dtype=np.uint8)
    images[1] //= 8
    images[2] = 200
    images[3] = 255
    images[3, 16:] = 0, 0, 255
    return RewardBatch(images, ["a"] * 4, [{}] * 4)


def test_they_are_found_as_a_strangers_package_is(catalog: RewardCatalog) -> None:
    ours = [r for r in catalog.rewards.values() if r.distribution == "marble-reward-basic"]
    assert {reward.spec.name for reward in ours} == set(NAMES)
    assert not [f for f in catalog.failures if f.distribution == "marble-reward-basic"]


@pytest.mark.parametrize("name", NAMES)
def test_each_keeps_the_contract(name: str) -> None:
    check_reward(name).raise_if_failed()


@pytest.mark.parametrize("name", NAMES)
def test_each_scores_within_its_range(
    name: str, catalog: RewardCatalog, batch: RewardBatch
) -> None:
    scores = np.asarray(catalog.build(name, {}, "cpu")(batch))
    low, high = catalog.get(name).spec.range
    assert scores.shape == (4,)
    assert np.isfinite(scores).all()
    assert ((scores >= low) & (scores <= high)).all()
    assert np.unique(scores).size > 1


def test_jpegs_goal_turns_the_sign(catalog: RewardCatalog, batch: RewardBatch) -> None:
    small = np.asarray(catalog.build("jpeg", {}, "cpu")(batch))
    large = np.asarray(catalog.build("jpeg", {"goal": "large"}, "cpu")(batch))
    assert (small < 0).all()
    assert small.argmax() in (2, 3)
    np.testing.assert_array_equal(small, -large)


@pytest.mark.parametrize(("name", "bounds"), GUARDS.items())
def test_bounds_are_options(
    name: str, bounds: tuple[float, float], catalog: RewardCatalog, batch: RewardBatch
) -> None:
    low, high = bounds
    default = np.asarray(catalog.build(name, {}, "cpu")(batch))
    same = catalog.build(name, {"low": low, "high": high}, "cpu")(batch)
    np.testing.assert_array_equal(np.asarray(same), default)
    # Half as wide upwards: what was outside by a ratio is outside by twice that ratio.
    narrow = np.asarray(catalog.build(name, {"low": low, "high": high / 2}, "cpu")(batch))
    outside = (default < 1) & (narrow < default)
    assert outside.any()
    np.testing.assert_allclose(narrow[outside], default[outside] / 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"low": 50.0, "high": 40.0}, "rewards.contrast.high: must be above low, 50, got 40"),
        ({"low": 95.0}, "rewards.contrast.high: must be above low, 95, got 90"),
        ({"low": -1.0}, "rewards.contrast.low: must be at least 0"),
        ({"hihg": 3.0}, r"unknown key \(did you mean 'high'\?\)"),
    ],
)
def test_wrong_bounds_are_named(
    options: dict[str, float], message: str, catalog: RewardCatalog
) -> None:
    with pytest.raises(BadInputError, match=message):
        catalog.build("contrast", options, "cpu")


def test_registering_imports_no_scorer() -> None:
    code = "import sys, marble_reward_basic.plugin;"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'PIL')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
