"""A loaded model with its policies and rewards: what sampling, evaluating and measuring need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator

from marblecli.engine.device import device_name, make_accelerator
from marblecli.engine.micro_batch import MicroBatch
from marblecli.engine.processes import Processes, check_even, connect
from marblecli.engine.reduction import Reduction
from marblecli.engine.shards import UNSHARDED, Shards
from marblecli.methods.schedule import MethodSchedule
from marblecli.models.backbone import Backbone
from marblecli.models.loading import Model, OpenStore, load_model
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies
from marblecli.rewards.score import RewardSuite
from marblecli.seeding import stream
from marblecli.settings import Recipe
from marblecli.train.gradients.memory import GradientMemory
from marblecli.train.phases import Phases
from marblecli.types import FloatArray, Prompt


@dataclass(frozen=True)
class PromptSets:
    """The prompts of a run."""

    train: tuple[tuple[Prompt, ...], ...] = ()
    """The training prompts, by source."""
    evaluation: Mapping[str, tuple[Prompt, ...]] = field(default_factory=dict)
    """The prompts of evaluations by split, such as ``train`` and ``held-out``."""

    def texts(self) -> set[str]:
        """The texts of all prompts."""
        groups = (*self.train, *self.evaluation.values())
        return {prompt.text for group in groups for prompt in group}


@dataclass(frozen=True)
class Sampler:
    """A loaded model with its policies, and the rewards that score its images.

    It has no optimizer and no average, because evaluating, probing and sampling need neither.
    """

    recipe: Recipe
    prompts: PromptSets
    suite: RewardSuite
    accelerator: Accelerator
    backbone: Backbone
    policies: Policies
    processes: Processes
    micro_batch: MicroBatch
    schedule: MethodSchedule
    """How the rewards' gradients are combined."""
    phases: Phases = field(default_factory=Phases)
    """Where the time of the steps goes."""
    gradient_memory: GradientMemory | None = None
    """The gradients of the batches so far; None if no method needs them."""

    @property
    def device(self) -> torch.device:
        """Where the model runs."""
        return self.accelerator.device

    @property
    def reduction(self) -> Reduction:
        """How gradients are summed over the processes."""
        return Reduction(self.processes, sharded=self.policies.shards.sharded)

    def sampling_levels(self) -> FloatArray:
        """[steps], those that images are sampled through, without the last, which is 0."""
        sampling = self.recipe.sampling
        shape = self.backbone.latent_shape(sampling.resolution)
        return self.backbone.solver(sampling.steps, shape).levels[:-1].double().numpy()


def open_sampler(
    recipe: Recipe,
    prompts: PromptSets,
    build_suite: Callable[[str], RewardSuite],
    *,
    texts: Iterable[str] | None = None,
    open_store: OpenStore | None = None,
    old: bool = True,
) -> Sampler:
    """Load the model and set its policies up as the base model.

    ``build_suite`` loads the rewards for a device, named as torch names it. ``texts`` are the texts
    to embed, by default those of all ``prompts``. ``open_store`` opens the recipe's
    ``model.embedding_cache``; without it, the cache isn't used. Without ``old`` there is no old
    policy, which only training and what measures for it need.

    Raises BadInputError if sharded weights can't share the prompts evenly among the processes, and
    what :func:`~marblecli.engine.processes.connect` and
    :func:`~marblecli.engine.device.make_accelerator` raise.
    """
    processes = connect()
    if recipe.model.sharded:
        check_even(recipe.sampling.prompts_per_step, processes.count)
    accelerator = make_accelerator(recipe, processes)
    wanted = prompts.texts() if texts is None else set(texts)
    model = load_model(recipe.model, recipe.run.seed, accelerator.device, wanted, open_store)
    shards = _shards(recipe, processes, accelerator.device)
    if not shards.sharded:
        # Not earlier: while prompts are embedded, the text encoders need the device's memory.
        model.network.to(accelerator.device)
    schedule = MethodSchedule.of(recipe.balance)
    return Sampler(
        recipe=recipe,
        prompts=prompts,
        suite=build_suite(device_name(accelerator.device)),
        accelerator=accelerator,
        backbone=model.backbone,
        policies=_seeded_policies(model, recipe, shards, old=old),
        processes=processes,
        micro_batch=_micro_batch(recipe, processes, shards),
        schedule=schedule,
        gradient_memory=GradientMemory(list(recipe.rewards), recipe.balance.gradient_memory)
        if schedule.needs_gradient_memory
        else None,
    )


def _shards(recipe: Recipe, processes: Processes, device: torch.device) -> Shards:
    if not recipe.model.sharded:
        return UNSHARDED
    return Shards(processes, device, offloaded=recipe.model.offload)


def _micro_batch(recipe: Recipe, processes: Processes, shards: Shards) -> MicroBatch:
    sampling = recipe.sampling
    most = -(-sampling.prompts_per_step // processes.count) * sampling.group_size
    size = recipe.training.micro_batch_size
    return MicroBatch(size, most, processes, fixed=shards.sharded)


def _seeded_policies(model: Model, recipe: Recipe, shards: Shards, *, old: bool) -> Policies:
    """The policies, with the first adapters drawn from the recipe's seed.

    PEFT draws them from torch's global generator, whose state is restored afterwards.
    """
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(recipe.run.seed, "adapters").integers(2**31)))
        return make_policies(model.family, model.network, recipe.model, shards, old=old)


def evaluation_prompts(sources: Sequence[Sequence[Prompt]], limit: int) -> tuple[Prompt, ...]:
    """At most ``limit`` prompts: the first ones of every source, as evenly as possible."""
    chosen: list[Prompt] = []
    for place in range(max((len(source) for source in sources), default=0)):
        for source in sources:
            if place < len(source) and len(chosen) < limit:
                chosen.append(source[place])
    return tuple(sorted(chosen, key=lambda prompt: prompt.source))
