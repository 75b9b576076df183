"""Everything that a run holds, assembled from a recipe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from torch import Tensor
from torch.nn import Parameter

from marblecli.engine.deepspeed import ZeroOptimizer, check_zero
from marblecli.engine.micro_batch import MicroBatch
from marblecli.engine.optimizer import load_optimizer_tensors, make_optimizer, optimizer_tensors
from marblecli.engine.processes import Processes, check_even, connect, on_cpu, wants_deepspeed
from marblecli.engine.shards import UNDIVIDED, Shards
from marblecli.errors import BadInputError
from marblecli.models.average import Average
from marblecli.models.backbone import Backbone
from marblecli.models.loading import Model, OpenStore, load_model
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies, PolicyName
from marblecli.rewards.score import RewardSuite
from marblecli.seeding import stream
from marblecli.settings import Recipe, TrainingSettings
from marblecli.train.rollout import Sampler
from marblecli.types import Prompt, Snapshot


@dataclass(frozen=True)
class PromptSets:
    """The prompts of a run."""

    train: tuple[tuple[Prompt, ...], ...]
    """By source."""
    evaluation: Mapping[str, tuple[Prompt, ...]]
    """By split: ``train`` and ``held-out``; a split without prompts is absent."""


@dataclass(frozen=True)
class Session:
    """A loaded model with its three policies, optimizer, average, rewards and prompts."""

    recipe: Recipe
    prompts: PromptSets
    suite: RewardSuite
    accelerator: Accelerator
    backbone: Backbone
    policies: Policies
    optimizer: torch.optim.Optimizer | ZeroOptimizer
    ema: Average
    processes: Processes
    micro_batch: MicroBatch

    def sum_(self, gradients: Iterable[Tensor]) -> None:
        """Sum over the processes, in place; those of divided weights are sums already."""
        if not self.policies.shards.divided:
            self.processes.sum_(gradients)

    def sampler(self, policy: PolicyName, steps: int) -> Sampler:
        """A sampler of that policy at the recipe's resolution."""
        sampling = self.recipe.sampling
        return Sampler(
            backbone=self.backbone,
            policies=self.policies,
            policy=policy,
            resolution=sampling.resolution,
            steps=steps,
            batch_size=sampling.batch_size,
            processes=self.processes,
        )


def open_session(
    recipe: Recipe,
    prompts: PromptSets,
    build_suite: Callable[[str], RewardSuite],
    project_dir: Path,
    open_store: OpenStore | None = None,
) -> Session:
    """Load the model and set the policies up as the base model, with nothing trained.

    ``build_suite`` loads the rewards for a device, named as torch does; ``project_dir`` is where
    accelerate's trackers write, if the recipe asks for any; ``open_store`` opens the recipe's
    ``model.embedding_cache``, and without it that is left alone.
    """
    processes = connect()
    if recipe.model.divided:
        check_even(recipe.sampling.prompts_per_step, processes.count)
    accelerator = Accelerator(
        cpu=on_cpu(processes),
        mixed_precision="no",  # The policies have their own autocast.
        log_with=list(recipe.tracking.log_with) or None,
        project_config=ProjectConfiguration(project_dir=str(project_dir)),
    )
    _check_kind(accelerator, recipe)
    if accelerator.device.type == "cuda":
        # What is left in float32 beside autocast: sums over samples, and all with dtype = "fp32".
        # TF32 rounds the factors to 10 bits, bf16 has 7.
        torch.set_float32_matmul_precision("high")
    texts = {p.text for source in prompts.train for p in source}
    texts |= {p.text for split in prompts.evaluation.values() for p in split}
    model = load_model(recipe.model, recipe.run.seed, accelerator.device, texts, open_store)
    shards = _shards(recipe, processes, accelerator.device)
    if not shards.divided:
        # Not earlier: the device needs no room for it and for the text encoders.
        model.network.to(accelerator.device)
    policies = _seeded_policies(model, recipe, shards)
    parameters = policies.trained_parameters()
    training = recipe.training
    return Session(
        recipe=recipe,
        prompts=prompts,
        suite=build_suite(_device_name(accelerator.device)),
        accelerator=accelerator,
        backbone=model.backbone,
        policies=policies,
        optimizer=_prepared_optimizer(
            accelerator, list(parameters.values()), training, offloaded=shards.offloaded
        ),
        ema=Average(parameters, training.ema_decay, on_cpu=training.ema_on_cpu),
        processes=processes,
        micro_batch=_micro_batch(recipe, processes, shards),
    )


def _shards(recipe: Recipe, processes: Processes, device: torch.device) -> Shards:
    if not recipe.model.divided:
        return UNDIVIDED
    return Shards(processes, device, offloaded=recipe.model.offload)


def _micro_batch(recipe: Recipe, processes: Processes, shards: Shards) -> MicroBatch:
    sampling = recipe.sampling
    most = -(-sampling.prompts_per_step // processes.count) * sampling.group_size
    size = recipe.training.micro_batch_size
    return MicroBatch(size, most, processes, fixed=shards.divided)


def _check_kind(accelerator: Accelerator, recipe: Recipe) -> None:
    """Accelerate's own ways to divide a model would be asked for, and not be had."""
    plain = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU")
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED" and wants_deepspeed():
        check_zero(accelerator.deepspeed_plugin.deepspeed_config, recipe)
    elif kind not in plain:
        raise BadInputError(
            f"accelerate is configured for {kind}, which can't be used so; start it with "
            "--num-processes, torchrun or accelerate launch (--multi_gpu or --use_deepspeed)"
        )


def _prepared_optimizer(
    accelerator: Accelerator,
    parameters: Sequence[Parameter],
    settings: TrainingSettings,
    *,
    offloaded: bool,
) -> torch.optim.Optimizer | ZeroOptimizer:
    if wants_deepspeed():
        return ZeroOptimizer(accelerator, parameters, settings)
    # On the CPU, where it isn't by default, it is several times as fast so.
    return accelerator.prepare(make_optimizer(parameters, settings, fused=offloaded))


def _device_name(device: torch.device) -> str:
    """As a recipe would name it: accelerate numbers CPUs too."""
    return "cpu" if device.type == "cpu" else str(device)


def _seeded_policies(model: Model, recipe: Recipe, shards: Shards) -> Policies:
    """Peft draws the adapters from torch's global generator: seed it, and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(recipe.run.seed, "adapters").integers(2**31)))
        return make_policies(model.family, model.network, recipe.model, shards)


def evaluation_prompts(sources: Sequence[Sequence[Prompt]], limit: int) -> tuple[Prompt, ...]:
    """At most ``limit`` prompts, the first of every source, as evenly as they last."""
    chosen: list[Prompt] = []
    for place in range(max((len(source) for source in sources), default=0)):
        for source in sources:
            if place < len(source) and len(chosen) < limit:
                chosen.append(source[place])
    return tuple(sorted(chosen, key=lambda prompt: prompt.source))


def snapshot(session: Session, step: int, state: Mapping[str, object]) -> Snapshot:
    """The whole training state after ``step``; ``state`` is what the loop adds to it.

    Its tensors are whole, however many processes divide them; then only the first has them.
    """
    trained, shards = session.policies.trained_parameters(), session.policies.shards
    parts = {
        "trained": {name: p.detach() for name, p in trained.items()},
        "old": {name: p.detach() for name, p in session.policies.old_parameters().items()},
        "ema": session.ema.tensors(),
        "optimizer": _optimizer_state(session),
    }
    return Snapshot(
        step=step,
        tensors={stem: shards.whole(tensors) for stem, tensors in parts.items()},
        state={
            **state,
            "step": step,
            "ema_steps": session.ema.steps,
            "micro_batch_size": session.micro_batch.size,
        },
    )


def _optimizer_state(session: Session) -> dict[str, Tensor]:
    optimizer = session.optimizer
    if isinstance(optimizer, ZeroOptimizer):
        return optimizer.tensors()
    return optimizer_tensors(optimizer)


def restore(session: Session, saved: Snapshot) -> None:
    """Put a saved state back: policies, average and optimizer, bit for bit."""
    session.policies.load(saved.tensors["trained"], saved.tensors["old"])
    shards = session.policies.shards
    averages = {name: shards.cut(whole) for name, whole in saved.tensors["ema"].items()}
    session.ema.load(averages, saved.state["ema_steps"])
    # Checkpoints from before the size could change don't have it.
    session.micro_batch.size = saved.state.get("micro_batch_size", session.micro_batch.size)
    state = {name: shards.cut(whole) for name, whole in saved.tensors["optimizer"].items()}
    if isinstance(session.optimizer, ZeroOptimizer):
        session.optimizer.load(state)
    else:
        load_optimizer_tensors(session.optimizer, state)
