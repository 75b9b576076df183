"""Everything that a run holds, assembled from a recipe."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from diffusers.training_utils import EMAModel

from marblecli.rewards.score import RewardSuite
from marblecli.settings import Recipe
from marblecli.train.backbone import Backbone, load_pipeline
from marblecli.train.policy import Policies, PolicyName, make_policies
from marblecli.train.rollout import Sampler
from marblecli.train.seeding import stream
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
    optimizer: torch.optim.Optimizer
    ema: EMAModel

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
        )


def open_session(
    recipe: Recipe,
    prompts: PromptSets,
    build_suite: Callable[[str], RewardSuite],
    project_dir: Path,
) -> Session:
    """Load the model and set the policies up as the base model, with nothing trained.

    ``build_suite`` loads the rewards for a device, named as torch does; ``project_dir`` is where
    accelerate's trackers write, if the recipe asks for any.
    """
    accelerator = Accelerator(
        log_with=list(recipe.tracking.log_with) or None,
        project_config=ProjectConfiguration(project_dir=str(project_dir)),
    )
    pipeline = load_pipeline(recipe.model)
    pipeline.vae.to(accelerator.device).requires_grad_(False)
    pipeline.transformer.to(accelerator.device)
    backbone = Backbone(pipeline, recipe.model)
    texts = {p.text for source in prompts.train for p in source}
    backbone.embed(texts | {p.text for split in prompts.evaluation.values() for p in split})
    policies = _seeded_policies(pipeline.transformer, recipe)
    parameters = list(policies.trained_parameters().values())
    optimizer = torch.optim.AdamW(
        parameters,
        lr=recipe.training.learning_rate,
        eps=recipe.training.adam_epsilon,
        weight_decay=recipe.training.weight_decay,
    )
    return Session(
        recipe=recipe,
        prompts=prompts,
        suite=build_suite(str(accelerator.device)),
        accelerator=accelerator,
        backbone=backbone,
        policies=policies,
        optimizer=accelerator.prepare(optimizer),
        ema=EMAModel(parameters, decay=recipe.training.ema_decay),
    )


def _seeded_policies(transformer: torch.nn.Module, recipe: Recipe) -> Policies:
    """Peft draws the adapters from torch's global generator: seed it, and put it back."""
    with torch.random.fork_rng():
        torch.manual_seed(int(stream(recipe.run.seed, "adapters").integers(2**31)))
        return make_policies(transformer, recipe.model)


def evaluation_prompts(sources: Sequence[Sequence[Prompt]], limit: int) -> tuple[Prompt, ...]:
    """At most ``limit`` prompts, the first of every source, as evenly as they last."""
    chosen: list[Prompt] = []
    for place in range(max((len(source) for source in sources), default=0)):
        for source in sources:
            if place < len(source) and len(chosen) < limit:
                chosen.append(source[place])
    return tuple(sorted(chosen, key=lambda prompt: prompt.source))


def snapshot(session: Session, step: int, state: Mapping[str, object]) -> Snapshot:
    """The whole training state after ``step``; ``state`` is what the loop adds to it."""
    trained = session.policies.trained_parameters()
    return Snapshot(
        step=step,
        tensors={
            "trained": {name: p.detach() for name, p in trained.items()},
            "old": {name: p.detach() for name, p in session.policies.old_parameters().items()},
            "ema": dict(zip(trained, session.ema.shadow_params, strict=True)),
            "optimizer": {
                f"{index}.{name}": value
                for index, entry in session.optimizer.state_dict()["state"].items()
                for name, value in entry.items()
            },
        },
        state={**state, "step": step, "ema_steps": session.ema.optimization_step},
    )


def restore(session: Session, saved: Snapshot) -> None:
    """Put a saved state back: policies, average and optimizer, bit for bit."""
    session.policies.load(saved.tensors["trained"], saved.tensors["old"])
    names = session.policies.trained_parameters()
    device = session.accelerator.device
    # Copies: training goes on in place, and the saved state must stay what it was.
    averages = saved.tensors["ema"]
    session.ema.shadow_params = [averages[name].to(device, copy=True) for name in names]
    session.ema.optimization_step = saved.state["ema_steps"]
    entries: dict[int, dict[str, torch.Tensor]] = {}
    for key, value in saved.tensors["optimizer"].items():
        index, name = key.split(".", 1)
        entries.setdefault(int(index), {})[name] = value.clone()
    groups = session.optimizer.state_dict()["param_groups"]
    session.optimizer.load_state_dict({"state": entries, "param_groups": groups})
