"""Whole optimizer steps on random weights: as published, and as this package makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import published
from marblecli.models import backbone
from marblecli.models.family import LoadRequest
from marblecli.models.sd3.loading import load_pipeline
from marblecli.models.supported import examine_model
from marblecli.runs.unrecorded import Unrecorded
from marblecli.settings import Recipe
from marblecli.train import collect, loop, rollout
from marblecli.train import step as steps
from marblecli.train.gradients import of_batch
from marblecli.train.loop import Progress, train_step
from marblecli.train.sampler import PromptSets, open_sampler
from marblecli.train.trainer import Trainer, open_trainer
from small_models import model_folder
from synthetic import random_prompts, reward_name, synthetic_suite

Watched = tuple[tuple[Any, str, str], ...]
"""The functions that a stopwatch times: owner, attribute, stage."""


@dataclass(frozen=True)
class StepOptions:
    """What a step is made of."""

    model: str
    """A small model's name, or a hub id whose configurations are shipped."""
    resolution: int
    prompts: int
    group_size: int
    noise_levels: int
    micro_batch_size: int
    sampler_steps: int
    pull_share: float
    rewards: int
    tower: str
    """Of the rewards; several with commas between them are taken in turn."""
    dtype: str
    compile: bool
    gradient_checkpointing: bool
    offload_rewards: bool = field(default=False, kw_only=True)
    changes: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """Values of the recipe by their dotted keys, beyond those above."""

    @property
    def images(self) -> int:
        """Images of a step."""
        return self.prompts * self.group_size

    @property
    def towers(self) -> list[str]:
        """The towers by name."""
        return self.tower.split(",")


@dataclass(frozen=True)
class Stepper:
    """A way to make optimizer steps."""

    step: Callable[[], None]
    watched: Watched


def make_recipe(options: StepOptions, folder: Path, rewards: int) -> Recipe:
    """A recipe with random prompts and synthetic rewards; it needs no prompt files."""
    table: dict[str, Any] = {
        "model": {
            "pretrained": model_folder(options.model, folder),
            "random_weights": True,
            "dtype": options.dtype,
            "compile": options.compile,
            "gradient_checkpointing": options.gradient_checkpointing,
        },
        "prompts": {"random": {"train": folder / "none.txt"}},
        "rewards": {reward_name(index): {} for index in range(rewards)},
        "sampling": {
            "resolution": options.resolution,
            "steps": options.sampler_steps,
            "group_size": options.group_size,
            "prompts_per_step": options.prompts,
            "batch_size": min(24, options.images),
        },
        "training": {
            "steps": 1000,
            "noise_levels": options.noise_levels,
            "micro_batch_size": options.micro_batch_size,
            "pull_share": options.pull_share,
        },
        "measure": {"parts": False, "slices_every": 0},
    }
    for key, value in options.changes.items():
        *tables, name = key.split(".")
        inner = table
        for each in tables:
            inner = inner.setdefault(each, {})
        inner[name] = value
    return Recipe.model_validate(table)


def device_here() -> torch.device:
    """CUDA where there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def open_published(options: StepOptions, folder: Path) -> Stepper:
    """Steps with the published choices: frozen weights in float32, nothing compiled."""
    plain = replace(options, dtype="fp32", compile=False, gradient_checkpointing=False)
    recipe = make_recipe(plain, folder, options.rewards)
    device = device_here()
    architecture = examine_model(recipe.model).architecture
    pipeline = load_pipeline(LoadRequest(recipe.model, architecture)).to(device)
    low = torch.float16 if device.type == "cuda" else torch.bfloat16
    autocast = torch.float32 if options.dtype == "fp32" else low
    suite = synthetic_suite(options.rewards, options.towers, str(device))
    run = published.make_published(recipe, pipeline, autocast, suite, options.micro_batch_size)
    prompts = list(random_prompts(options.prompts))
    watched = (
        (backbone.Backbone, "encode", "text encoders"),
        (published, "integrate", "sampling"),
        (backbone.Backbone, "decode", "decoding"),
        (published, "scores", "waiting for rewards"),
        (published, "train_rows", "loss"),
        (published, "backward", "backward"),
        (run.optimizer, "step", "optimizer"),
    )
    return Stepper(partial(published.published_step, run, prompts), watched)


def open_marble(options: StepOptions, folder: Path, rewards: int) -> Trainer:
    """A trainer of this package with the recipe that the options make."""
    recipe = make_recipe(options, folder, rewards)
    prompts = PromptSets((random_prompts(options.prompts),), {})
    suite = partial(synthetic_suite, rewards, options.towers, offload=options.offload_rewards)
    return open_trainer(open_sampler(recipe, prompts, suite))


def stepper(trainer: Trainer) -> Stepper:
    """The trainer's steps, one after the other."""
    progress = Progress()

    def step() -> None:
        nonlocal progress
        progress, _ = train_step(trainer, Unrecorded(), progress)

    watched = (
        (rollout, "integrate", "sampling"),
        (backbone.Backbone, "decode", "decoding"),
        (collect, "sample_and_score", "waiting for rewards"),
        (of_batch, "contracted_gradients", "loss"),
        (torch.autograd, "backward", "backward"),
        (steps, "measure", "balance"),
        (loop, "conflict_record", "balance"),
        (trainer.optimizer, "step", "optimizer"),
    )
    return Stepper(step, watched)
