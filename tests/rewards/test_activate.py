from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from marblecli.errors import BadInputError, MarbleError
from marblecli.rewards.activate import activate
from marblecli.rewards.host import InstalledReward, RewardCatalog
from marblecli.rewards.spec import NoOptions, RewardSpec, Scorer
from marblecli.settings import RewardSettings


class Options(NoOptions):
    size: int = 1


class Movable:
    def __init__(self, options: Options, device: str) -> None:
        self.device = device

    def __call__(self, batch: Any) -> Any:
        return [0.0] * len(batch.prompts)

    def to(self, device: str, /) -> None:
        self.device = device


def plain(options: Options, device: str) -> Scorer:
    return lambda batch: [0.0] * len(batch.prompts)


CATALOG = RewardCatalog(
    {
        name: InstalledReward(RewardSpec(name, "", build, options=Options), "dist", "1")
        for name, build in (("movable", Movable), ("plain", plain))
    }
)


def settings(**table: Any) -> RewardSettings:
    return RewardSettings.model_validate(table)


def test_a_reward_is_loaded_on_the_runs_device_with_its_settings() -> None:
    table = settings(batch_size=3, timeout=7, sources=["ocr"], size=2)
    active = activate(CATALOG, "movable", table, "cpu")
    assert active.name == "movable"
    assert (active.batch_size, active.timeout, active.sources) == (3, 7.0, ("ocr",))
    assert active.offload_from is None
    assert isinstance(active.scorer, Movable)
    assert active.scorer.device == "cpu"


def test_the_runs_own_device_is_not_checked() -> None:
    """Accelerate has chosen it, and knows more kinds of devices."""
    active = activate(CATALOG, "movable", settings(), "xpu:1")
    assert isinstance(active.scorer, Movable)
    assert active.scorer.device == "xpu:1"


def test_an_offloaded_reward_is_loaded_on_the_cpu_and_scores_on_the_runs_device() -> None:
    active = activate(CATALOG, "movable", settings(device="offload"), "cuda:0")
    assert isinstance(active.scorer, Movable)
    assert active.scorer.device == "cpu"
    assert active.offload_from == "cuda:0"


def test_offload_on_the_cpu_moves_nothing() -> None:
    assert activate(CATALOG, "movable", settings(device="offload"), "cpu").offload_from is None


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_offload_needs_a_reward_that_can_be_moved(device: str) -> None:
    with pytest.raises(BadInputError) as caught:
        activate(CATALOG, "plain", settings(device="offload"), device)
    assert str(caught.value) == (
        "rewards.plain.device: 'offload' needs a reward whose weights can be moved, and 'plain' "
        "has no method to(device); choose cpu or cuda"
    )


def test_the_error_for_a_missing_device_names_those_that_exist() -> None:
    with pytest.raises(BadInputError) as caught:
        activate(CATALOG, "plain", settings(device="cuda:64"), "cpu")
    assert "rewards.plain.device: there is no cuda:64 on this machine" in str(caught.value)
    assert "choose from cpu" in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_a_gpu_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(BadInputError, match="there is no cuda on this machine"):
        activate(CATALOG, "plain", settings(device="cuda"), "cpu")


@pytest.mark.gpu
def test_offloaded_weights_take_gpu_memory_only_while_they_score() -> None:
    from marblecli.rewards.lane import Lane

    class Weights(Movable):
        def __init__(self, options: Options, device: str) -> None:
            super().__init__(options, device)
            self.tensor = torch.ones(1 << 20, device=device)

        def to(self, device: str, /) -> None:
            self.tensor = self.tensor.to(device)

    spec = RewardSpec("heavy", "", Weights, options=Options)
    catalog = RewardCatalog({"heavy": InstalledReward(spec, "dist", "1")})
    lane = Lane(activate(catalog, "heavy", settings(device="offload"), "cuda:0"))
    before = torch.cuda.memory_allocated()
    lane.visit()
    assert torch.cuda.memory_allocated() - before >= 4 << 20
    assert lane.rest() is None
    assert torch.cuda.memory_allocated() == before
    lane.close(1.0)


@pytest.mark.parametrize("device", ["gpu", "offloaded", "mps:1", "cuda:", "cuda:x", "CPU", ""])
def test_devices_are_checked_before_anything_is_loaded(device: str) -> None:
    with pytest.raises(ValidationError, match="must be cpu, cuda, cuda:N, mps or offload"):
        settings(device=device)


@pytest.mark.parametrize("device", ["cpu", "mps", "cuda", "cuda:0", "cuda:12", "offload", None])
def test_known_devices(device: str | None) -> None:
    assert settings(device=device).device == device


@pytest.mark.parametrize(
    "table", [{"batch_size": 0}, {"timeout": 0}, {"timeout": float("inf")}, {"timeout": 1e6}]
)
def test_numbers_are_bounded(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**table)


def test_keys_that_are_not_marbles_are_the_plugins_options() -> None:
    table = settings(device="cpu", batch_size=2, timeout=1, weight=0, sources=["a"], size=3)
    assert table.options == {"size": 3}


def test_a_reward_that_cannot_be_loaded_is_an_error_of_the_run() -> None:
    def fail(options: Options, device: str) -> Scorer:
        raise OSError("no weights")

    spec = RewardSpec("heavy", "", fail, options=Options)
    catalog = RewardCatalog({"heavy": InstalledReward(spec, "dist", "1")})
    with pytest.raises(MarbleError, match="'heavy' failed to load: OSError: no weights"):
        activate(catalog, "heavy", settings(), "cpu")
