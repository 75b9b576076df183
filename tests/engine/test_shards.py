"""Full mode with weights sharded over 2 and 3 processes: gradients, runs and checkpoints are those
of whole weights.

Three processes cut the small network's rows unevenly. Offloading works with any number of
processes, also with one.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, distributed
from torch.utils._python_dispatch import TorchDispatchMode

from marblecli.conflicts.record import ConflictRecord, Matrix
from marblecli.engine import shards as sharding
from marblecli.engine.processes import Processes
from marblecli.engine.shards import UNSHARDED, ScatteredSums, Shards
from marblecli.errors import BadInputError
from marblecli.models.full_policies import ShardedPolicies
from marblecli.models.policies import Policies, PolicyName
from marblecli.models.sd3.family import SD3
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.gradients.plain import amortised_backward
from marblecli.train.gradients.reward_gradients import (
    RewardGradients,
    _pulled,
    contracted_gradients,
)
from marblecli.types import Prompt, Snapshot

Runner = Callable[..., Any]
Arrays = dict[str, np.ndarray]

SETTINGS = LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=1e-2, micro_batch_size=2)
COEFFICIENTS = torch.tensor([0.3, 0.1, 0.2, 0.25, 0.15])
PASSES = {False: "kept", True: "checkpointed"}
"""By whether blocks are checkpointed."""

RUN = {
    "model.mode": "full",
    "training.steps": 2,
    "training.adam_epsilon": 1e-3,
    "training.kl_weight": 1e-2,
    "training.micro_batch_size": 4,
    "sampling.prompts_per_step": 4,
    "sampling.steps": 2,
    "sampling.batch_size": 4,
    "eval.images_per_prompt": 4,
    "checkpoint.every": 1,
}
WHOLE = {**RUN, "measure.slices_every": 1, "measure.fresh_every": 2}
REUSED = {**RUN, "balance.refresh_every": 2, "model.gradient_checkpointing": True}
HELD_OUT = tuple(Prompt(f"a {name} on black", "scenes") for name in ("line", "dot", "ring"))
"""Of two processes, one samples two batches of these prompts and the other one batch."""


class Collectives(TorchDispatchMode):
    """Counts the collective operations inside."""

    def __init__(self) -> None:
        super().__init__()
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func.namespace == "c10d":
            self.found[func.__name__.split(".")[0].strip("_")] += 1
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Pieces:
    """What one process has found of single batches."""

    gradients: dict[str, Arrays]
    """By the way they were computed; whole gradients, in the first process only."""
    held: dict[str, int]
    """Elements in this process, by network, and of the accumulators."""
    collectives: dict[str, dict[str, int]]
    """Collective operations of one micro-batch, by kind."""
    sums: list[np.ndarray]
    left_whole: list[str]
    """Networks with parameters that were still whole after all passes."""


@dataclass(frozen=True)
class Ran:
    """What one process has seen of whole runs."""

    recorded: dict[str, Any] = field(default_factory=dict)
    outcomes: dict[str, Any] = field(default_factory=dict)


def pieces(rank: int, count: int) -> Pieces:
    # This is imported by name, because this process has imported no test yet.
    from torch.distributed.tensor import DTensor

    from marblecli.engine.processes import connect
    from support import training as conftest

    shards = Shards(connect())
    plain = conftest.make_policies("full")
    policies = ShardedPolicies(SD3, conftest.make_transformer(), torch.float32, shards)
    policies.load(plain.trained_parameters(), plain.old_parameters())
    whole = small(conftest.make_batch(torch.float32))
    ends = [each * len(whole.latents) // count for each in (rank, rank + 1)]
    batch = conftest.cut(whole, *ends)
    found, collectives = {}, {}
    for checkpointed, name in PASSES.items():
        if checkpointed:
            policies.checkpoint_blocks()
        gradients = contracted_gradients(policies, batch, SETTINGS)
        found[name] = whole_gradients(gradients, shards)
        with Collectives() as counted:
            contracted_gradients(policies, batch, replace(SETTINGS, micro_batch_size=6))
        collectives[name] = dict(counted.found)
        amortised_backward(policies, batch, SETTINGS, COEFFICIENTS)
        found[f"{name}, amortised"] = whole_amortised(policies)
    # The gradients of the larger layers are now sent in several parts.
    sharding.TOGETHER = 10_000
    found["in pieces"] = whole_gradients(contracted_gradients(policies, batch, SETTINGS), shards)
    sparse = contracted_gradients(policies, batch, replace(SETTINGS, micro_batch_size=1), 0.3)
    found["sparse"] = whole_gradients(sparse, shards)
    held = {
        name: sum(each.numel() for each in parts)
        for name, parts in {
            "trained": policies.trained_parameters().values(),
            "old": policies.old_parameters().values(),
            "reference": (p.to_local() for p in policies.network("reference").parameters()),
            "accumulators": (block[0, 0] for block in sparse.blocks),
        }.items()
    }
    names: tuple[PolicyName, ...] = ("trained", "old", "reference")
    left_whole = [
        name
        for name in names
        if not all(isinstance(p, DTensor) for p in policies.network(name).parameters())
    ]
    return Pieces(found, held, collectives, uneven_sums(shards), left_whole)


def small(batch: TrainingBatch) -> TrainingBatch:
    """The batch at one noise level: one micro-batch for each of three processes, two for two."""
    return replace(batch, levels=batch.levels[:, :1])


def whole_gradients(gradients: RewardGradients, shards: Shards) -> Arrays:
    """All gradients by parameter, rows first, because rows are sharded; the regulariser's last."""
    found = {}
    for index, (block, penalty) in enumerate(zip(gradients.blocks, gradients.penalty, strict=True)):
        every = torch.cat([block.flatten(0, 1), penalty[None]])
        found[str(index)] = every.movedim(0, -1)
    return {name: tensor.numpy() for name, tensor in shards.whole(found).items()}


def whole_amortised(policies: Policies) -> Arrays:
    """The parameters' ``.grad``, which is set to None."""
    found = {}
    for name, parameter in policies.trained_parameters().items():
        if parameter.grad is not None:
            found[name] = parameter.grad
            parameter.grad = None
    return {name: tensor.numpy() for name, tensor in policies.shards.whole(found).items()}


def uneven_sums(shards: Shards) -> list[np.ndarray]:
    """Sums of parameters with 4, 5 and 1 rows; with three processes, some have no rows.

    What a process adds depends on its rank.
    """
    sums, totals = ScatteredSums(shards), []
    for rows in (4, 5, 1):
        whole = torch.arange(2.0 * rows * 3).view(2, rows, 3)
        total = torch.ones(2, *shards.cut(whole[0]).shape)
        sums.add(total, (shards.processes.rank + 1) * whole)
        totals.append(total)
    sums.settle()
    return [total.numpy() for total in totals]


def runs(rank: int, count: int, model: Path, folder: Path, saved: Snapshot) -> tuple[Pieces, Ran]:
    """Everything that is tested of two processes, in one call, because they take long to start."""
    ran = Ran()
    run_into(ran, "whole", model, folder, {**WHOLE, "model.shard": True})
    # These go on from the checkpoint of a run with whole weights, and with its balance.
    run_into(ran, "reused", model, folder, {**REUSED, "model.shard": True}, saved)
    run_into(ran, "offloaded", model, folder, {**REUSED, "model.offload": True}, saved)
    return pieces(rank, count), ran


def first_step(_rank: int, _count: int, model: Path, folder: Path) -> list[float]:
    """The coefficients of the first step."""
    from marblecli.train.loop import Progress, train_step
    from support import training as conftest

    recipe = conftest.tiny_recipe(model, {**RUN, "model.shard": True})
    trainer = conftest.open_recipe(recipe)
    record = conftest.Recorded()
    with trainer.sampler.suite:
        train_step(trainer, record, Progress())
    return list(record.metrics[0]["coefficients"].values())


def run_into(
    ran: Ran,
    name: str,
    model: Path,
    folder: Path,
    overrides: Mapping[str, Any],
    saved: Snapshot | None = None,
) -> None:
    from marblecli.train.loop import train
    from support import training as conftest

    prompts = replace(
        conftest.PROMPTS,
        # One process has no prompt of the split "train".
        evaluation={"train": conftest.PROMPTS.evaluation["train"][:1], "held-out": HELD_OUT},
    )
    recipe = conftest.tiny_recipe(model, overrides)
    trainer = conftest.open_recipe(recipe, prompts=prompts)
    ran.recorded[name] = conftest.Recorded()
    with trainer.sampler.suite:
        ran.outcomes[name] = train(trainer, ran.recorded[name].callbacks(), saved)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sharded")


@pytest.fixture(scope="module")
def alone(tiny_folder: Path, folder: Path) -> Ran:
    ran = Ran()
    run_into(ran, "whole", tiny_folder, folder, WHOLE)
    run_into(ran, "reused", tiny_folder, folder, REUSED)
    return ran


@pytest.fixture(scope="module")
def offloaded(alone: Ran, tiny_folder: Path, folder: Path) -> Iterator[Ran]:
    """Offloaded runs of one process."""
    ran, saved = Ran(), alone.recorded["reused"].checkpoints[0]
    run_into(ran, "whole", tiny_folder, folder, {**WHOLE, "model.offload": True})
    run_into(ran, "reused", tiny_folder, folder, {**REUSED, "model.offload": True}, saved)
    yield ran
    distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two(run_group: Runner, alone: Ran, tiny_folder: Path, folder: Path) -> list[tuple[Pieces, Ran]]:
    return run_group(2, runs, tiny_folder, folder, alone.recorded["reused"].checkpoints[0])


@pytest.fixture(scope="module")
def together(two: list[tuple[Pieces, Ran]]) -> list[Ran]:
    return [ran for _, ran in two]


@pytest.fixture(scope="module", params=[2, 3])
def found(
    request: pytest.FixtureRequest, run_group: Runner, two: list[tuple[Pieces, Ran]]
) -> list[Pieces]:
    return run_group(3, pieces) if request.param == 3 else [each for each, _ in two]


def close(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> None:
    """Assert equality to float32 rounding; sums are in another order."""
    assert mine.keys() == theirs.keys()
    for name, one in theirs.items():
        scale = max(float(abs(one).max()), 1e-30)
        np.testing.assert_allclose(mine[name], one, rtol=1e-4, atol=2e-5 * scale)


@pytest.mark.parametrize("name", [*PASSES.values(), "in pieces"])
def test_sharded_gradients_are_those_of_whole_weights(
    name: str, found: list[Pieces], policies_of: Runner, batch: TrainingBatch
) -> None:
    policies = policies_of("full")
    expected = whole_gradients(contracted_gradients(policies, small(batch), SETTINGS), UNSHARDED)
    close(found[0].gradients[name], expected)


@pytest.mark.parametrize("name", PASSES.values())
def test_plain_backward_passes_give_the_gradient_of_whole_weights(
    name: str, found: list[Pieces], policies_of: Runner, batch: TrainingBatch
) -> None:
    policies = policies_of("full")
    amortised_backward(policies, small(batch), SETTINGS, COEFFICIENTS)
    close(found[0].gradients[f"{name}, amortised"], whole_amortised(policies))


def test_a_sparse_pull_leaves_the_signal_as_it_is(
    found: list[Pieces], policies_of: Runner, batch: TrainingBatch
) -> None:
    gradients = contracted_gradients(policies_of("full"), small(batch), SETTINGS)
    signal = slice(0, 2 * batch.optimality.shape[1])
    expected = whole_gradients(gradients, UNSHARDED)
    sparse = found[0].gradients["sparse"]
    close(
        {name: each[..., signal] for name, each in sparse.items()},
        {name: each[..., signal] for name, each in expected.items()},
    )
    assert not all(np.allclose(sparse[name], each) for name, each in expected.items())


def test_processes_with_sharded_weights_compute_the_pull_on_the_same_micro_batches(
    batch: TrainingBatch, part_of: Callable[..., TrainingBatch]
) -> None:
    parts = [part_of(batch, 0, 3), part_of(batch, 3, 6)]
    drawn = {
        together: [_pulled(part, SETTINGS, 0.3, together)[0] for part in parts]
        for together in (True, False)
    }
    assert drawn[True][0] == drawn[True][1]
    assert drawn[False][0] != drawn[False][1]


def test_each_process_holds_only_its_own_rows(found: list[Pieces], policies_of: Runner) -> None:
    whole = sum(p.numel() for p in policies_of("full").trained_parameters().values())
    for name in found[0].held:
        held = [each.held[name] for each in found]
        assert sum(held) == whole
        assert max(held) <= 1.2 * whole / len(found)
    assert not any(each.left_whole for each in found)


def test_collectives_of_a_micro_batch(found: list[Pieces]) -> None:
    """There are three groups (two blocks and the rest), three forward and three backward passes.

    With checkpointing, a block is gathered once for all backward passes; the rest is gathered for
    each of them and for the stem, and FSDP2 gathers one block ahead in vain. The gradients of all
    passes are sent together.
    """
    for each in found:
        kept, checkpointed = (each.collectives[name] for name in PASSES.values())
        assert kept == {"allgather_base": 3 * 3 + 3 * 3, "reduce_scatter_base": 1}
        again = 2 + (3 + 1) + 1
        assert checkpointed == {"allgather_base": 3 * 3 + again, "reduce_scatter_base": 1}


def test_sums_are_sharded_like_parameters(found: list[Pieces]) -> None:
    count = len(found)
    for place, rows in enumerate((4, 5, 1)):
        got = np.concatenate([each.sums[place] for each in found], 1)
        whole = np.arange(2.0 * rows * 3).reshape(2, rows, 3)
        np.testing.assert_array_equal(got, 1.0 + count * (count + 1) / 2 * whole)


def same_products(mine: Matrix, theirs: Matrix) -> None:
    """Inner products of nearly orthogonal gradients are small differences of large sums."""
    np.testing.assert_allclose(theirs, mine, rtol=1e-4, atol=1e-4 * np.abs(mine).max())


def same_conflicts(mine: ConflictRecord, theirs: ConflictRecord) -> None:
    same_products(mine.gram, theirs.gram)
    for direction, cosines in mine.cosines.items():
        assert theirs.cosines[direction] == pytest.approx(cosines, abs=1e-4)
    assert (theirs.parts is None) == (mine.parts is None)
    if mine.parts is not None and theirs.parts is not None:
        for name, part in vars(mine.parts).items():
            same_products(part, vars(theirs.parts)[name])
    for name, rows in mine.slices.items():
        np.testing.assert_allclose(theirs.slices[name].norms, rows.norms, rtol=1e-3, atol=1e-8)
    assert (theirs.fresh is None) == (mine.fresh is None)
    if mine.fresh is not None and theirs.fresh is not None:
        same_products(mine.fresh.products, theirs.fresh.products)


def same_run(one: Any, other: Any) -> None:
    """Assert that ``other`` is the same run; it may have started at a checkpoint of ``one``."""
    for mine, theirs in zip(one.metrics[-len(other.metrics) :], other.metrics, strict=True):
        assert theirs["valid"] == mine["valid"]
        assert theirs["faults"] == mine["faults"] == []
        for key in ("coefficients", "rewards", "gradient_norm"):
            assert theirs[key] == pytest.approx(mine[key], rel=1e-4)
    for mine, theirs in zip(one.conflicts, other.conflicts, strict=False):
        same_conflicts(mine, theirs)
    assert other.images.keys() >= {(2, "train"), (2, "held-out")}
    for place, images in other.images.items():
        torch.testing.assert_close(images, one.images[place], rtol=0, atol=1e-3)


def same_outcome(mine: Any, theirs: Any) -> None:
    for split, changes in mine.changes.items():
        for one, other in zip(changes, theirs.changes[split], strict=True):
            assert other.images == one.images
            assert other.end == pytest.approx(one.end, abs=1e-5)


@pytest.mark.parametrize("name", ["whole", "reused"])
def test_a_sharded_run_is_the_run_with_whole_weights(
    name: str, alone: Ran, together: list[Ran]
) -> None:
    same_run(alone.recorded[name], together[0].recorded[name])
    same_outcome(alone.outcomes[name], together[0].outcomes[name])


@pytest.mark.parametrize("name", ["whole", "reused"])
def test_an_offloaded_run_is_the_run_with_whole_weights(
    name: str, alone: Ran, offloaded: Ran
) -> None:
    mine, theirs = alone.recorded[name], offloaded.recorded[name]
    same_run(mine, theirs)
    same_outcome(alone.outcomes[name], offloaded.outcomes[name])
    for one, other in zip(mine.checkpoints[::-1], theirs.checkpoints[::-1], strict=False):
        same_state(one, other)


def test_weights_can_be_sharded_and_offloaded_at_once(alone: Ran, together: list[Ran]) -> None:
    same_run(alone.recorded["reused"], together[0].recorded["offloaded"])
    same_outcome(alone.outcomes["reused"], together[0].outcomes["offloaded"])
    last = together[0].recorded["offloaded"].checkpoints[-1]
    same_state(alone.recorded["reused"].checkpoints[-1], last)


def test_four_processes_find_the_coefficients_of_one(
    alone: Ran, run_group: Runner, tiny_folder: Path, folder: Path
) -> None:
    expected = list(alone.recorded["whole"].metrics[0]["coefficients"].values())
    found = run_group(4, first_step, tiny_folder, folder)
    assert found == [found[0]] * 4
    assert found[0] == pytest.approx(expected, rel=1e-4)


def test_all_processes_balance_and_score_alike(together: list[Ran]) -> None:
    first, second = together
    assert second.outcomes == first.outcomes
    for name, one in first.recorded.items():
        other = second.recorded[name]
        for mine, theirs in zip(one.metrics, other.metrics, strict=True):
            assert {**theirs, "seconds": 0, "phases": 0} == {**mine, "seconds": 0, "phases": 0}


def same_state(mine: Snapshot, theirs: Snapshot) -> None:
    assert mine.tensors.keys() == theirs.tensors.keys()
    for stem, tensors in theirs.tensors.items():
        assert mine.tensors[stem].keys() == tensors.keys()
        for name, tensor in tensors.items():
            torch.testing.assert_close(mine.tensors[stem][name], tensor, rtol=1e-4, atol=2e-6)


def test_checkpoints_are_whole_and_in_the_first_process(alone: Ran, together: list[Ran]) -> None:
    """This holds also for a run that went on from a run with whole weights."""
    for name, steps in (("whole", 2), ("reused", 1)):
        mine, theirs = (each.recorded[name].checkpoints[-steps:] for each in (together[0], alone))
        for one, other in zip(mine, theirs, strict=True):
            same_state(one, other)
            assert one.state.keys() == other.state.keys()
        for saved in together[1].recorded[name].checkpoints:
            assert not any(saved.tensors.values())


def test_a_sharded_run_can_be_resumed_with_whole_weights(
    alone: Ran, together: list[Ran], tiny_folder: Path, folder: Path
) -> None:
    ran, saved = Ran(), together[0].recorded["whole"].checkpoints[0]
    run_into(ran, "resumed", tiny_folder, folder, WHOLE, saved)
    straight = alone.recorded["whole"].checkpoints[-1]
    same_state(ran.recorded["resumed"].checkpoints[-1], straight)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 7, 9])
@pytest.mark.parametrize("count", [2, 3, 4])
def test_rows_are_cut_as_torch_cuts_them(rows: int, count: int) -> None:
    whole = torch.arange(2.0 * rows).view(rows, 2)
    cuts = [Shards(Processes(rank, count)).cut(whole) for rank in range(count)]
    expected = whole.chunk(count)
    assert torch.equal(torch.cat(cuts), whole)
    assert [len(cut) for cut in cuts if len(cut)] == [len(chunk) for chunk in expected]


def test_offloaded_rows_are_kept_on_the_cpu() -> None:
    device = torch.device("cuda", 3)
    shards = Shards(device=device, offloaded=True)
    assert shards.sharded
    assert shards.home == torch.device("cpu")
    assert Shards(device=device).home == device
    whole = torch.ones(3, 2)
    assert torch.equal(shards.cut(whole), whole)
    assert torch.equal(shards.whole({"a": whole})["a"], whole)


def test_a_device_that_cannot_shard_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"^model\.shard and model\.offload need a GPU"):
        Shards(device=torch.device("mps"), offloaded=True).shard(torch.nn.Module(), ())


@pytest.mark.gpu
def test_the_device_holds_no_offloaded_weights(
    policies_of: Runner, moved_to: Callable[..., TrainingBatch], batch: TrainingBatch
) -> None:
    plain = policies_of("full")
    expected = contracted_gradients(plain, small(batch), SETTINGS)
    weights = sum(p.nbytes for p in plain.trained_parameters().values())
    before = torch.cuda.memory_allocated()
    shards = Shards(device=torch.device("cuda"), offloaded=True)
    network = copy.deepcopy(plain.network("reference"))
    policies = ShardedPolicies(SD3, network, torch.float32, shards)
    policies.load(plain.trained_parameters(), plain.old_parameters())
    assert torch.cuda.memory_allocated() - before < weights / 2
    found = contracted_gradients(policies, moved_to(small(batch), "cuda"), SETTINGS)
    assert {each.device.type for each in found.tensors()} == {"cpu"}
    close(whole_gradients(found, shards), whole_gradients(expected, UNSHARDED))
    distributed.destroy_process_group()


def test_nothing_is_sharded_by_default() -> None:
    whole = torch.ones(3, 2)
    assert not UNSHARDED.sharded
    assert UNSHARDED.cut(whole) is whole
    assert UNSHARDED.whole({"a": whole})["a"] is whole
    with UNSHARDED.gathered(None):
        pass
    number: Tensor = torch.tensor(3.0)
    assert Shards(Processes(1, 2)).cut(number) is number
