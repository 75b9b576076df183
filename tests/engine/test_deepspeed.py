"""Runs with and without DeepSpeed as the optimizer are the same, and can be resumed as each other.

DeepSpeed runs on CPUs with gloo here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import Parameter

from marblecli.engine import processes
from marblecli.engine.deepspeed import LinearForm, check_zero, complete
from marblecli.engine.device import check_distribution
from marblecli.engine.processes import Processes, connect, on_cpu, wants_deepspeed
from marblecli.errors import BadInputError
from marblecli.types import Snapshot

Runner = Callable[..., Any]

COMMON = {
    "training.steps": 2,
    "training.adam_epsilon": 1e-3,
    "training.weight_decay": 0.1,
    "training.kl_weight": 1e-2,
    "training.micro_batch_size": 4,
    "sampling.steps": 2,
    "sampling.batch_size": 4,
    # Evaluations put the averaged weights in place between the steps, and take them out again.
    "eval.every": 1,
    "checkpoint.every": 1,
}
JOBS: dict[str, dict[str, Any]] = {
    "lora": {},
    "full": {"model.mode": "full"},
    "offloaded": {"model.mode": "full", "balance.refresh_every": 2},
}
ZERO = {"lora": (1, "none"), "full": (2, "none"), "offloaded": (2, "cpu")}
"""ZeRO's stage, and where the optimizer's state is offloaded to."""
JOBS_OF = {1: ("lora",), 2: tuple(JOBS)}
"""By number of processes."""
CASES = [(count, name) for count, names in JOBS_OF.items() for name in names]


@dataclass(frozen=True)
class Ran:
    """What one process has seen of one job."""

    recorded: Any
    weights: list[np.ndarray]
    """After the last step."""
    held: int
    """Elements that AdamW updates in this process."""
    resumed: list[np.ndarray]
    """After resuming from the checkpoint of step 1."""
    taken_over: list[np.ndarray]
    """After resuming from the checkpoint of step 1 of a run without DeepSpeed."""
    old_was_trained: tuple[bool, bool]
    """Whether the old policy is known to be the trained one, before and after an update."""


@dataclass(frozen=True)
class Case:
    """What the processes of a group have seen of one job."""

    name: str
    processes: list[Ran]

    @property
    def first(self) -> Ran:
        return self.processes[0]


def work(
    rank: int, count: int, model: Path, folder: Path, plain: Mapping[str, Snapshot]
) -> dict[str, Ran]:
    """Every job, in one call, because processes take long to start."""
    import deepspeed.ops

    # Compiling this operator takes a minute, and gloo can do the same.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"
    return {name: job(name, model, folder, saved) for name, saved in plain.items()}


def job(name: str, model: Path, folder: Path, plain: Snapshot) -> Ran:
    from accelerate.state import AcceleratorState

    from marblecli.train.loop import train

    # This is imported by name, because this process has imported no test yet.
    from support import training as conftest

    stage, device = ZERO[name]
    os.environ["ACCELERATE_DEEPSPEED_ZERO_STAGE"] = str(stage)
    os.environ["ACCELERATE_DEEPSPEED_OFFLOAD_OPTIMIZER_DEVICE"] = device
    # This forgets what an earlier job has configured.
    AcceleratorState._reset_state()

    def opened() -> Any:
        recipe = conftest.tiny_recipe(model, {**COMMON, **JOBS[name]})
        return conftest.open_recipe(recipe)

    def weights_after(trainer: Any, recorded: Any, saved: Snapshot | None) -> list[np.ndarray]:
        train(trainer, recorded.callbacks(), saved)
        return [p.detach().numpy() for p in trainer.sampler.policies.trained_parameters().values()]

    trainer, recorded = opened(), conftest.Recorded()
    weights = weights_after(trainer, recorded, None)
    # Every process of a resumed run reads the checkpoint from its file.
    saved = trainer.sampler.processes.gather(recorded.checkpoints[0])[0]
    resumed = weights_after(opened(), conftest.Recorded(), saved)
    taken_over = weights_after(opened(), conftest.Recorded(), plain)
    held = trainer.optimizer.held.numel()
    return Ran(recorded, weights, held, resumed, taken_over, old_was_trained(opened()))


def old_was_trained(trainer: Any) -> tuple[bool, bool]:
    before = trainer.sampler.policies.old_is_trained
    for parameter in trainer.sampler.policies.trained_parameters().values():
        parameter.grad = torch.ones_like(parameter)
    trainer.optimizer.step()
    return before, trainer.sampler.policies.old_is_trained


@pytest.fixture(scope="module")
def alone(run_tiny: Runner) -> dict[str, Any]:
    """By job, what is recorded without DeepSpeed."""
    pytest.importorskip("deepspeed")
    return {name: run_tiny({**COMMON, **overrides})[0] for name, overrides in JOBS.items()}


@pytest.fixture(scope="module")
def groups(
    run_group: Runner,
    alone: dict[str, Any],
    tiny_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[int, list[dict[str, Ran]]]:
    """By number of processes, rank and job."""
    folder = tmp_path_factory.mktemp("zero")
    return {
        count: run_group(
            count,
            work,
            tiny_folder,
            folder,
            {name: alone[name].checkpoints[0] for name in names},
        )
        for count, names in JOBS_OF.items()
    }


@pytest.fixture(params=CASES, ids=lambda case: f"{case[0]}-{case[1]}")
def case(request: pytest.FixtureRequest, groups: dict[int, list[dict[str, Ran]]]) -> Case:
    count, name = request.param
    return Case(name, [each[name] for each in groups[count]])


def close(mine: Snapshot, theirs: Snapshot) -> None:
    """Assert that the snapshots have the same tensors, equal to rounding."""
    assert mine.tensors.keys() == theirs.tensors.keys()
    for stem, part in theirs.tensors.items():
        assert mine.tensors[stem].keys() == part.keys()
        for key, expected in part.items():
            torch.testing.assert_close(mine.tensors[stem][key], expected, rtol=1e-4, atol=2e-6)


def test_a_run_is_the_same_as_without_deepspeed(case: Case, alone: dict[str, Any]) -> None:
    mine, theirs = case.first.recorded, alone[case.name]
    for line, expected in zip(mine.metrics, theirs.metrics, strict=True):
        for key in ("rewards", "coefficients", "gradient_norm"):
            assert line[key] == pytest.approx(expected[key], rel=1e-4)
    for saved, other in zip(mine.checkpoints, theirs.checkpoints, strict=True):
        close(saved, other)


def test_all_processes_hold_the_same_weights(case: Case) -> None:
    for other in case.processes[1:]:
        assert same(other.weights, case.first.weights)


def test_the_state_is_sharded_evenly(case: Case) -> None:
    each = sum(part.size for part in case.first.weights) / len(case.processes)
    for ran in case.processes:
        # All parts have the same size; the last one is padded.
        assert each <= ran.held <= each + 8


def test_a_resumed_run_is_the_same_to_the_bit(case: Case) -> None:
    assert all(same(ran.resumed, ran.weights) for ran in case.processes)


def test_a_run_without_deepspeed_can_be_resumed_with_it(case: Case) -> None:
    for mine, expected in zip(case.first.taken_over, case.first.weights, strict=True):
        np.testing.assert_allclose(mine, expected, rtol=1e-4, atol=2e-6)


def test_a_run_with_deepspeed_can_be_resumed_without_it(
    case: Case, alone: dict[str, Any], run_tiny: Runner
) -> None:
    saved = case.first.recorded.checkpoints[0]
    (resumed,) = run_tiny({**COMMON, **JOBS[case.name]}, saved=saved)[0].checkpoints
    close(resumed, alone[case.name].checkpoints[1])


def test_after_an_update_the_old_policy_is_not_the_trained_one(case: Case) -> None:
    assert case.first.old_was_trained == (True, False)


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_the_gradient_of_the_linear_form_is_the_given_one() -> None:
    parts = [Parameter(torch.randn(shape)) for shape in ((3, 4), (5,), (2, 1, 3), (1,))]
    given = [torch.randn_like(part).mul(1e3) for part in parts]
    # The layout of a given gradient doesn't matter.
    given[0] = given[0].T.contiguous().T
    form = LinearForm(parts)
    value = form(given)
    value.backward()
    assert all(
        torch.equal(p.grad, g) for p, g in zip(parts, given, strict=True) if p.grad is not None
    )
    assert all(part.grad is not None for part in parts)
    expected = sum(float((p * g).sum().detach()) for p, g in zip(parts, given, strict=True))
    assert float(value.detach()) == pytest.approx(expected, rel=1e-4)


def config(stage: int = 2, **others: Any) -> dict[str, Any]:
    """DeepSpeed's configuration as accelerate makes it from its own file."""
    zero = {
        "stage": stage,
        "offload_optimizer": {"device": "none", "nvme_path": None},
        "offload_param": {"device": "none", "nvme_path": None},
        **others.pop("zero", {}),
    }
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "fp16": {"enabled": False},
        "bf16": {"enabled": False},
        "zero_optimization": zero,
        **others,
    }


@pytest.mark.parametrize(
    ("wanted", "refused"),
    [
        (config(3), "ZeRO stage 3: .*model.shard = true"),
        (config(0), "ZeRO stage 0: .* set stage 1 or 2"),
        (config(bf16={"enabled": True}), "a section bf16: .* follow model.dtype; leave it out"),
        (config(fp16={"enabled": True}), "a section fp16: "),
        (config(optimizer={"type": "AdamW"}), "a section optimizer: .*the recipe's"),
        (config(scheduler={"type": "WarmupLR"}), "a section scheduler: "),
        (config(gradient_accumulation_steps=4), "gradient_accumulation_steps: .*micro_batch_size"),
        (config(gradient_clipping=0.5), "gradient_clipping: .*training.max_grad_norm"),
        (config(zero={"offload_optimizer": {"device": "nvme"}}), "offload_optimizer to nvme: "),
        (config(zero={"offload_param": {"device": "cpu"}}), "offload_param: .*leave the weights"),
        (config(zero_force_ds_cpu_optimizer=True), "zero_force_ds_cpu_optimizer: .*torch's AdamW"),
    ],
)
def test_unsupported_deepspeed_settings_are_refused(
    wanted: dict[str, Any], refused: str, recipe_of: Runner
) -> None:
    with pytest.raises(BadInputError, match=f"^DeepSpeed can't be used with {refused}") as caught:
        check_zero(wanted, recipe_of())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("overrides", "refused"),
    [
        (
            {"model.shard": True, "model.mode": "full"},
            r"model\.shard: ",
        ),
        ({"training.optimizer": "adamw-8bit"}, r'training\.optimizer = "adamw-8bit": .*"adamw"'),
    ],
)
def test_recipe_settings_that_exclude_deepspeed_are_refused(
    overrides: dict[str, Any], refused: str, recipe_of: Runner
) -> None:
    with pytest.raises(BadInputError, match=f"^DeepSpeed can't be used with {refused}"):
        check_zero(config(), recipe_of(**overrides))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_supported_configuration_is_completed(stage: int, recipe_of: Runner) -> None:
    wanted = config(stage, zero={"offload_optimizer": {"device": "cpu"}, "overlap_comm": True})
    check_zero(wanted, recipe_of())
    complete(wanted, 2, 1000)
    # A second optimizer of the same process finds the completed configuration.
    check_zero(wanted, recipe_of())
    assert wanted["train_batch_size"] == 2 * wanted["train_micro_batch_size_per_gpu"] == 2
    assert wanted["gradient_accumulation_steps"] == 1
    assert wanted["gradient_clipping"] == 0
    zero = wanted["zero_optimization"]
    assert (zero["overlap_comm"], zero["reduce_bucket_size"]) == (True, 1000)
    own = config(zero={"reduce_bucket_size": 7, "stage3_prefetch_bucket_size": "auto"})
    complete(own, 2, 1000)
    assert own["zero_optimization"]["reduce_bucket_size"] == 7
    assert "auto" not in own["zero_optimization"].values()


def test_the_mixed_precision_of_accelerate_is_refused(
    recipe_of: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    with pytest.raises(BadInputError, match="mixed_precision: bf16"):
        check_zero(config(), recipe_of())


def test_deepspeed_is_used_only_if_a_launcher_asks_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    assert not wants_deepspeed()
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert wants_deepspeed()
    # If this were true, accelerate would ignore DeepSpeed.
    assert not on_cpu(Processes(0, 2))
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "false")
    assert not wants_deepspeed()


def test_a_missing_deepspeed_is_an_error_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("ACCELERATE_USE_DEEPSPEED", "true")
    monkeypatch.setattr(processes, "find_spec", lambda _name: None)
    with pytest.raises(BadInputError, match="pip install deepspeed"):
        connect()


@pytest.mark.parametrize("kind", ["FSDP", "MEGATRON_LM", "DEEPSPEED"])
def test_accelerates_other_modes_are_refused(kind: str, recipe_of: Runner) -> None:
    """DeepSpeed is refused, too, if no launcher has started it."""
    accelerator: Any = SimpleNamespace(distributed_type=SimpleNamespace(value=kind))
    with pytest.raises(BadInputError, match=f"configured for {kind}, which isn't supported"):
        check_distribution(accelerator, recipe_of())
