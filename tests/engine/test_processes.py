"""A run is the same with 1, 2 and 4 processes; and how processes communicate."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from marblecli.engine.processes import (
    Processes,
    check_even,
    connect,
    on_cpu,
    running_together,
    started_processes,
)
from marblecli.errors import BadInputError, InterruptedRunError, LostProcessError

Runner = Callable[..., Any]

COMMON = {
    "training.steps": 2,
    "training.adam_epsilon": 1e-3,
    "training.kl_weight": 1e-2,
    "training.micro_batch_size": 4,
    # Neither 2 nor 4 processes get as many prompts each: 3 and 2, or 2, 1, 1 and 1.
    "sampling.prompts_per_step": 5,
    "sampling.batch_size": 4,
}
JOBS: dict[str, dict[str, Any]] = {
    "lora": {"measure.slices_every": 1, "measure.fresh_every": 2},
    "full": {"model.mode": "full"},
    "reused": {"balance.refresh_every": 2},
    "backward": {"training.gradients": "backward"},
    "published": {"balance.method": "marble-published", "balance.refresh_every": 2},
    "sparse": {"training.pull_share": 0.3},
    "rows": {"training.rows.extremes": 2, "training.rows.draw": "by-size"},
    "levels": {"training.levels.draw": "signal", "measure.slices_every": 1},
}
JOBS_OF = {2: tuple(JOBS), 4: ("lora",)}
"""By number of processes. Only the shares differ between 2 and 4."""


@dataclass(frozen=True)
class Ran:
    """What one process of a group has seen."""

    recorded: dict[str, Any]
    """By job."""
    weights: dict[str, list[np.ndarray]]
    """By job, after its last step."""
    outcomes: dict[str, Any]
    resumed_to_the_bit: bool
    stopped: str
    faults: list[list[str]]
    sums: list[np.ndarray]


def work(rank: int, count: int, model: Path, folder: Path) -> Ran:
    """Everything that is tested of a group, in one call, because processes take long to start."""
    # This is imported by name, because this process has imported no test yet.
    from marblecli.train.loop import train
    from support import training as conftest

    def opened(overrides: Mapping[str, Any], faulty: Mapping[str, Any] | None = None) -> Any:
        recipe = conftest.tiny_recipe(model, {**COMMON, **overrides})
        return conftest.open_recipe(recipe, faulty)

    def weights_of(trainer: Any) -> list[np.ndarray]:
        return [p.detach().numpy() for p in trainer.sampler.policies.trained_parameters().values()]

    recorded, weights, outcomes = {}, {}, {}
    for name in JOBS_OF[count]:
        trainer, recorded[name] = opened(JOBS[name]), conftest.Recorded()
        outcomes[name] = train(trainer, recorded[name].callbacks())
        weights[name] = weights_of(trainer)
    part, stopped = conftest.Recorded(), ""
    try:
        # Only the last process is asked to stop.
        train(opened(JOBS["lora"]), part.callbacks(1 if rank == count - 1 else None))
    except InterruptedRunError as error:
        stopped = str(error)
    trainer = opened(JOBS["lora"])
    train(trainer, conftest.Recorded().callbacks(), part.checkpoints[0])
    pairs = zip(weights_of(trainer), weights["lora"], strict=True)
    same = all(np.array_equal(one, other) for one, other in pairs)
    faulty, moody = conftest.Recorded(), {"red": raises} if rank == count - 1 else {}
    train(opened({"sampling.batch_size": 100}, moody), faulty.callbacks())
    return Ran(
        recorded,
        weights,
        outcomes,
        resumed_to_the_bit=same,
        stopped=stopped,
        faults=[line["faults"] for line in faulty.metrics],
        sums=sums(trainer.sampler.processes),
    )


def raises(_: object) -> np.ndarray:
    raise RuntimeError("no driver")


def sums(processes: Processes) -> list[np.ndarray]:
    tensors = [
        torch.full((2, 3), float(processes.rank + 1)),
        torch.arange(4.0, dtype=torch.float64).view(2, 2).T,
        torch.ones(3).as_strided((2,), (2,)),
    ]
    processes.sum_(iter(tensors))
    return [tensor.numpy() for tensor in tensors]


@pytest.fixture(scope="module")
def groups(
    run_group: Runner, tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[int], list[Ran]]:
    """Number of processes -> what each of them has seen."""
    done: dict[int, list[Ran]] = {}
    folder = tmp_path_factory.mktemp("processes")

    def run(count: int) -> list[Ran]:
        if count not in done:
            done[count] = run_group(count, work, tiny_folder, folder)
        return done[count]

    return run


@pytest.fixture(params=[2, 4])
def group(request: pytest.FixtureRequest, groups: Callable[[int], list[Ran]]) -> list[Ran]:
    return groups(request.param)


@pytest.mark.parametrize(
    ("count", "job"),
    [(count, job) for count, jobs in JOBS_OF.items() for job in jobs if job != "sparse"],
)
def test_a_run_is_the_same_with_any_number_of_processes(
    count: int, job: str, groups: Callable[[int], list[Ran]], run_tiny: Runner
) -> None:
    group = groups(count)
    alone, outcome = run_tiny({**COMMON, **JOBS[job]})
    together = group[0].recorded[job]
    for mine, theirs in zip(alone.metrics, together.metrics, strict=True):
        assert mine["valid"] == theirs["valid"]
        assert mine["faults"] == theirs["faults"] == []
        for key in ("coefficients", "rewards"):
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4)
        assert theirs["gradient_norm"] == pytest.approx(mine["gradient_norm"], rel=1e-4)
    for one, other in zip(alone.conflicts, together.conflicts, strict=True):
        np.testing.assert_allclose(other.gram, one.gram, rtol=1e-3, atol=1e-9)
        assert other.slices.keys() == one.slices.keys()
        for name, part in one.slices.items():
            np.testing.assert_allclose(other.slices[name].norms, part.norms, rtol=1e-3, atol=1e-7)
        if one.fresh is not None:
            np.testing.assert_allclose(other.fresh.norms, one.fresh.norms, rtol=1e-3)
    for split, changes in outcome.changes.items():
        for mine, theirs in zip(changes, group[0].outcomes[job].changes[split], strict=True):
            assert theirs.images == mine.images
            assert theirs.end == pytest.approx(mine.end, abs=1e-5)
            assert theirs.low == pytest.approx(mine.low, abs=1e-5)
    assert together.images.keys() == alone.images.keys()
    for place, images in alone.images.items():
        torch.testing.assert_close(together.images[place], images, rtol=0, atol=1e-3)


def test_all_processes_hold_the_same_weights_to_the_bit(group: list[Ran]) -> None:
    for other in group[1:]:
        for job in JOBS_OF[len(group)]:
            for one, two in zip(group[0].weights[job], other.weights[job], strict=True):
                assert np.array_equal(one, two)
            assert other.outcomes[job] == group[0].outcomes[job]


def test_one_process_that_is_asked_to_stop_stops_all_after_the_same_step(group: list[Ran]) -> None:
    assert {each.stopped for each in group} == {"interrupted; step 1 is saved"}


def test_a_resumed_run_of_as_many_processes_is_the_same_to_the_bit(group: list[Ran]) -> None:
    assert all(each.resumed_to_the_bit for each in group)


def test_a_run_can_be_resumed_with_another_number_of_processes(
    group: list[Ran], run_tiny: Runner
) -> None:
    overrides = {**COMMON, **JOBS["lora"], "training.steps": 3}
    straight, _ = run_tiny(overrides)
    saved = group[0].recorded["lora"].checkpoints[-1]
    resumed, _ = run_tiny(overrides, saved=saved)
    (line,) = resumed.metrics
    assert line["coefficients"] == pytest.approx(straight.metrics[2]["coefficients"], rel=1e-3)


def test_a_fault_in_one_process_is_seen_by_all(group: list[Ran]) -> None:
    for each in group:
        assert len(each.faults) == 2
        for (fault,) in each.faults:
            assert re.fullmatch(r"red: RuntimeError: no driver \(.*test_processes\.py:\d+\)", fault)


def test_tensors_of_any_layout_are_summed_over_all_processes(group: list[Ran]) -> None:
    count = len(group)
    for each in group:
        first, transposed, strided = each.sums
        assert (first == count * (count + 1) / 2).all()
        np.testing.assert_array_equal(transposed, count * np.arange(4.0).reshape(2, 2).T)
        assert (strided == count).all()


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (RuntimeError("[pair.cc:5] Connection closed by peer\nat 0x0"), LostProcessError),
        (torch.OutOfMemoryError("no room for the buffer"), torch.OutOfMemoryError),
    ],
)
def test_a_lost_process_is_distinguished_from_a_lack_of_memory(
    raised: RuntimeError, seen: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: object) -> None:
        raise raised

    monkeypatch.setattr(torch.distributed, "all_reduce", fail)
    with pytest.raises(seen) as caught:
        Processes(0, 2).sum_([torch.ones(1)])
    if seen is LostProcessError:
        assert str(caught.value) == (
            "another process of the run is gone: [pair.cc:5] Connection closed by peer"
        )


@pytest.mark.parametrize("items", [0, 1, 3, 4, 9, 10])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_shares_are_even_and_together_all_items_in_order(items: int, count: int) -> None:
    shares = [range(items)[Processes(rank, count).share(items)] for rank in range(count)]
    assert [item for share in shares for item in share] == list(range(items))
    sizes = [len(share) for share in shares]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (RuntimeError("[/gloo/transport/tcp/pair.cc:5] Connection closed by peer"), True),
        (torch.distributed.DistBackendError("NCCL communicator was aborted"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (torch.OutOfMemoryError("CUDA out of memory"), False),
    ],
)
def test_a_process_lost_in_a_pass_is_distinguished_from_other_errors(
    raised: RuntimeError, seen: bool
) -> None:
    with pytest.raises(RuntimeError if not seen else LostProcessError), running_together():
        raise raised


@pytest.mark.parametrize(("prompts", "count"), [(4, 3), (5, 2), (1, 2)])
def test_processes_with_sharded_weights_need_as_many_prompts_each(prompts: int, count: int) -> None:
    check_even(count * prompts, count)
    with pytest.raises(BadInputError, match=r"^sampling\.prompts_per_step: sharded weights need"):
        check_even(prompts, count)


def test_a_single_process_does_not_communicate() -> None:
    alone = Processes()
    assert alone.first
    tensor = torch.ones(2)
    alone.sum_([tensor])
    alone.wait()
    assert tensor.tolist() == [1.0, 1.0]
    assert alone.gather("a") == alone.gather_to_first("a") == ["a"]
    assert (alone.agree(True), alone.agree(False)) == (True, False)


def test_a_process_is_what_its_launcher_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOCAL_RANK", "RANK", "WORLD_SIZE"):
        monkeypatch.delenv(name, raising=False)
    assert started_processes() == connect() == Processes()
    # Some clusters set this variable to the number of machines.
    monkeypatch.setenv("WORLD_SIZE", "8")
    assert started_processes() == Processes()
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setenv("RANK", "5")
    assert started_processes() == Processes(5, 8)
    assert not on_cpu(Processes())
