"""What training needs beyond sampling: an optimizer, and an average of the trained weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor
from torch.nn import Parameter

from marblecli.engine.deepspeed import ZeroOptimizer
from marblecli.engine.optimizer import load_optimizer_tensors, make_optimizer, optimizer_tensors
from marblecli.engine.processes import wants_deepspeed
from marblecli.models.average import Average
from marblecli.settings import TrainingSettings
from marblecli.train.levels import check_range
from marblecli.train.sampler import Sampler
from marblecli.types import Snapshot

MEMORY = "gradient_memory"
"""What a snapshot's tensors and numbers of the gradient memory are called, if there is one."""


@dataclass(frozen=True)
class Trainer:
    """A sampler whose trained policy is stepped by an optimizer, and averaged."""

    sampler: Sampler
    optimizer: torch.optim.Optimizer | ZeroOptimizer
    average: Average
    """The exponential moving average of the trained weights."""

    def parameters(self) -> list[Parameter]:
        """The trained parameters, in the policies' order."""
        return list(self.sampler.policies.trained_parameters().values())


def open_trainer(sampler: Sampler) -> Trainer:
    """A trainer for the sampler's trained policy, with a new optimizer and average.

    Raises BadInputError if the recipe's range of noise levels has none of the sampler's.
    """
    training = sampler.recipe.training
    check_range(training.levels, sampler.sampling_levels())
    parameters = sampler.policies.trained_parameters()
    optimizer = _prepared_optimizer(
        sampler.accelerator,
        list(parameters.values()),
        training,
        offloaded=sampler.policies.shards.offloaded,
    )
    average = Average(parameters, training.ema_decay, on_cpu=training.ema_on_cpu)
    return Trainer(sampler, optimizer, average)


def _prepared_optimizer(
    accelerator: Accelerator,
    parameters: Sequence[Parameter],
    settings: TrainingSettings,
    *,
    offloaded: bool,
) -> torch.optim.Optimizer | ZeroOptimizer:
    if wants_deepspeed():
        return ZeroOptimizer(accelerator, parameters, settings)
    # AdamW isn't fused on the CPU by default; fused is several times faster.
    return accelerator.prepare(make_optimizer(parameters, settings, fused=offloaded))


def snapshot(trainer: Trainer, step: int, state: Mapping[str, object]) -> Snapshot:
    """The whole training state after ``step``; ``state`` is the loop's part of it.

    The tensors are whole. If they are sharded over several processes, only the first process gets
    them.
    """
    policies = trainer.sampler.policies
    trained, shards = policies.trained_parameters(), policies.shards
    parts = {
        "trained": {name: p.detach() for name, p in trained.items()},
        "old": {name: p.detach() for name, p in policies.old_parameters().items()},
        "ema": trainer.average.tensors(),
        "optimizer": _optimizer_state(trainer),
    }
    memory = trainer.sampler.gradient_memory
    if memory is not None:
        parts[MEMORY] = memory.tensors(list(trained))
    return Snapshot(
        step=step,
        tensors={stem: shards.whole(tensors) for stem, tensors in parts.items()},
        state={
            **state,
            "step": step,
            "ema_steps": trainer.average.steps,
            "micro_batch_size": trainer.sampler.micro_batch.size,
            **({} if memory is None else {MEMORY: memory.state()}),
        },
    )


def _optimizer_state(trainer: Trainer) -> dict[str, Tensor]:
    optimizer = trainer.optimizer
    if isinstance(optimizer, ZeroOptimizer):
        return optimizer.tensors()
    return optimizer_tensors(optimizer)


def restore(trainer: Trainer, saved: Snapshot) -> None:
    """Restore a saved state of policies, average and optimizer, bit for bit."""
    policies, micro_batch = trainer.sampler.policies, trainer.sampler.micro_batch
    policies.load(saved.tensors["trained"], saved.tensors["old"])
    shards = policies.shards
    averages = {name: shards.cut(whole) for name, whole in saved.tensors["ema"].items()}
    trainer.average.load(averages, saved.state["ema_steps"])
    # Older checkpoints don't have the size, because it couldn't change.
    micro_batch.size = saved.state.get("micro_batch_size", micro_batch.size)
    memory = trainer.sampler.gradient_memory
    if memory is not None:
        sums = {name: shards.cut(whole) for name, whole in saved.tensors.get(MEMORY, {}).items()}
        memory.load(policies.trained_parameters(), sums, saved.state.get(MEMORY))
    state = {name: shards.cut(whole) for name, whole in saved.tensors["optimizer"].items()}
    if isinstance(trainer.optimizer, ZeroOptimizer):
        trainer.optimizer.load(state)
    else:
        load_optimizer_tensors(trainer.optimizer, state)
