"""The five-reward recipes for other GPUs, modes and models: what they share, what they say."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from marblecli.cli.setup import Plan, load_plan
from marblecli.cli.train.memory import reward_weights, simulation_of
from marblecli.models.architectures import Architecture
from marblecli.planning.memory import count_memory
from marblecli.planning.plan import GIB, MemoryPlan, RewardWeights

RECIPES = Path(__file__).parents[2] / "recipes"
OURS = RECIPES / "five_rewards.toml"
VARIANTS = {
    "five_rewards": 48,
    "five_rewards_published": 48,
    "five_rewards_24gb": 24,
    "five_rewards_full": 141e9 / GIB,
    "five_rewards_large": 48,
}
"""GiB of the GPU that each is for."""
REWARDS = int(10.8 * GIB)
"""All rewards' weights together, by their files on the hub."""

QUICK = "five_rewards_24gb"
"""The recipe whose memory is counted by default; that of the others takes long."""
counted_recipes = pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == QUICK else pytest.mark.slow) for name in VARIANTS],
)


@pytest.fixture(params=VARIANTS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(name: str) -> Path:
    return RECIPES / f"{name}.toml"


@cache
def plan_of(path: Path) -> Plan:
    return load_plan(path, [])


def counted(plan: Plan, rewards: int = 0) -> MemoryPlan:
    """With ``rewards`` bytes of weights in all on the device."""
    assert isinstance(plan.architecture, Architecture)
    there = reward_weights(plan)
    each = {
        name: RewardWeights(rewards // len(there), weights.offloaded)
        for name, weights in there.items()
    }
    return count_memory(plan.recipe, simulation_of(plan.family, plan.architecture), each)


def test_every_recipe_here_is_tested() -> None:
    assert {path.stem for path in RECIPES.glob("*.toml")} == {*VARIANTS, "quickstart"}


def test_it_is_valid_and_opens_with_its_command(path: Path) -> None:
    plan = plan_of(path)
    assert plan.recipe.run.name == path.stem.replace("_", "-")
    opening = path.read_text("utf-8").split("\n[run]")[0].splitlines()
    assert opening[0] == f"# marble train recipes/{path.name}"
    assert any(line.startswith("# Cost") for line in opening)
    assert "Not measured by us" in " ".join(opening).replace("# ", "")


def test_its_rewards_and_prompts_are_the_published_ones(path: Path) -> None:
    mine, published = plan_of(path).recipe, plan_of(OURS).recipe
    assert mine.prompts == published.prompts
    assert mine.balance == published.balance
    assert mine.eval == published.eval
    moved = {
        name: entry.model_copy(update={"device": None}) for name, entry in mine.rewards.items()
    }
    assert moved == {
        name: entry.model_copy(update={"device": None}) for name, entry in published.rewards.items()
    }


def test_only_the_published_one_has_another_geometry(path: Path) -> None:
    mine, ours = plan_of(path).recipe, plan_of(OURS).recipe
    same = (mine.sampling, mine.training.noise_levels, mine.training.levels) == (
        ours.sampling,
        ours.training.noise_levels,
        ours.training.levels,
    )
    assert same == (path.stem != "five_rewards_published")
    if not same:
        assert (mine.sampling.steps, mine.sampling.group_size) == (25, 24)
        assert (mine.training.noise_levels, mine.training.levels.draw) == (24, "sampler")
        assert (
            mine.model_copy(
                update={"run": ours.run, "sampling": ours.sampling, "training": ours.training}
            )
            == ours
        )


@pytest.mark.slow
@counted_recipes
def test_the_memory_that_it_says_is_the_memory_counted(name: str) -> None:
    path = RECIPES / f"{name}.toml"
    opening = path.read_text("utf-8").split("\n[run]")[0].replace("\n# ", " ")
    said = re.search(r"counted, not measured: ([\d.]+) GiB at its peak", opening)
    assert said is not None
    plan = counted(plan_of(path))
    assert float(said[1]) == round(plan.total(plan.peak) / GIB, 1)
    with_rewards = counted(plan_of(path), REWARDS)
    for scored in re.findall(r"which makes ([\d.]+) where", opening):
        most = max(with_rewards.total("sampling"), with_rewards.total("decoding"))
        assert float(scored) == round(most / GIB, 1)


@counted_recipes
def test_it_fits_its_gpu_with_its_rewards(name: str) -> None:
    plan = counted(plan_of(RECIPES / f"{name}.toml"), REWARDS)
    assert plan.excess(int(VARIANTS[name] * GIB)) == 0


def test_each_differs_in_what_it_is_for() -> None:
    small, full, large = (
        plan_of(RECIPES / f"five_rewards_{name}.toml").recipe for name in ("24gb", "full", "large")
    )
    assert small.model.gradient_checkpointing
    assert {entry.device for entry in small.rewards.values()} == {"offload", "cpu"}
    assert (full.model.mode, full.training.optimizer) == ("full", "adamw-8bit")
    assert not full.measure.parts
    assert large.model.pretrained == "stabilityai/stable-diffusion-3.5-large"
