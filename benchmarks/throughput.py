"""The time of a step by stage, and the gain of optimisations: ``python benchmarks/throughput.py``.

Whole optimizer steps (sampling, decoding, rewards, gradients, balance, AdamW) of a Stable Diffusion
3 with random weights, on random prompts and K synthetic rewards, which are vision towers of a
chosen size. The variants take turns in one process, so that other work on the machine affects all
alike:

- ``published``: the published geometry and choices, rebuilt (benchmarks/published.py);
- ``marble``: this package with the recipe that the options make;
- ``single``: the same with one reward.

The time by stage is measured in separate rounds, which wait for the device at every stage. The
speeds are measured in rounds without that; on a CPU, by the process's own time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import numpy as np
import torch
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel

import published
from marblecli.models import backbone
from marblecli.models.architectures import shipped_architecture
from marblecli.models.family import LoadRequest
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.loading import load_pipeline
from marblecli.models.supported import examine_model
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.score import RewardSuite
from marblecli.rewards.spec import NoOptions, RewardBatch, RewardSpec, Scorer
from marblecli.runs.unrecorded import Unrecorded
from marblecli.settings import Recipe
from marblecli.train import collect, loop, rollout
from marblecli.train import step as steps
from marblecli.train.gradients import of_batch
from marblecli.train.loop import Progress, train_step
from marblecli.train.sampler import PromptSets, open_sampler
from marblecli.train.trainer import Trainer, open_trainer
from marblecli.types import Prompt
from stopwatch import OTHER, Stopwatch, now

BASELINE = "published"
SMALL = "small"
"""A model with about 100 million parameters in the transformer, for machines without a GPU."""
_TOWERS = {"none": None, "small": (192, 4, 3), "vit-l": (1024, 24, 16), "vit-h": (1280, 32, 16)}
"""Width, layers and heads of a reward's vision tower."""
_SIDE = 224


@dataclass(frozen=True)
class Options:
    """The command line."""

    model: str
    resolution: int
    prompts: int
    group_size: int
    noise_levels: int
    micro_batch_size: int
    sampler_steps: int
    pull_share: float
    rewards: int
    tower: str
    dtype: str
    compile: bool
    gradient_checkpointing: bool
    rounds: int
    memory_cap: float | None
    json: Path | None


@dataclass
class Variant:
    """A way to make optimizer steps."""

    step: Callable[[], None]
    watched: tuple[tuple[Any, str, str], ...]
    """The functions that the stopwatch times: owner, attribute, stage."""
    seconds: list[float] = field(default_factory=list)
    split: dict[str, float] = field(default_factory=dict)
    peak: int = 0
    """The most bytes in use during a step, on CUDA."""
    idle: int = 0
    """Bytes in use between steps, on CUDA."""


def main() -> None:
    """Parse the command line, and run."""
    run(_parse())


def run(options: Options) -> None:
    """Measure and print the figures; with ``--json``, also write them."""
    if options.memory_cap is not None:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(options.memory_cap * 2**30 / total)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        variants = dict(_variants(options, folder))
        for _ in range(options.rounds):
            for variant in variants.values():
                _timed_step(variant, sum(v.idle for v in variants.values()))
        for variant in variants.values():
            _split_step(variant)
    images = options.prompts * options.group_size
    _show(variants, images)
    if options.json is not None:
        options.json.write_text(json.dumps(_document(options, variants, images), indent=2))


def make_recipe(options: Options, folder: Path, rewards: int) -> Recipe:
    """A recipe with random prompts and synthetic rewards; it needs no prompt files."""
    return Recipe.model_validate(
        {
            "model": {
                "pretrained": model_folder(options.model, folder),
                "random_weights": True,
                "dtype": options.dtype,
                "compile": options.compile,
                "gradient_checkpointing": options.gradient_checkpointing,
            },
            "prompts": {"random": {"train": folder / "none.txt"}},
            "rewards": {f"synthetic-{index}": {} for index in range(rewards)},
            "sampling": {
                "resolution": options.resolution,
                "steps": options.sampler_steps,
                "group_size": options.group_size,
                "prompts_per_step": options.prompts,
                "batch_size": min(24, options.prompts * options.group_size),
            },
            "training": {
                "steps": 1000,
                "noise_levels": options.noise_levels,
                "micro_batch_size": options.micro_batch_size,
                "pull_share": options.pull_share,
            },
            "measure": {"parts": False, "slices_every": 0},
        }
    )


def random_prompts(count: int) -> tuple[Prompt, ...]:
    """``count`` prompts of twelve words."""
    rng = np.random.default_rng(0)
    words = [f"word{index}" for index in range(1000)]
    return tuple(Prompt(" ".join(rng.choice(words, 12)), "random") for _ in range(count))


def synthetic_suite(count: int, tower: str, device: str) -> RewardSuite:
    """``count`` rewards, each with its own vision tower (or without one, from the pixels)."""
    return RewardSuite([_synthetic(index, tower, device) for index in range(count)])


def _synthetic(index: int, tower: str, device: str) -> ActiveReward:
    def build(_options: BaseModel, device: str, /) -> Scorer:
        return _scorer(_TOWERS[tower], index, device)

    spec = RewardSpec(name=f"synthetic-{index}", summary="", build=build, images="float")
    return ActiveReward(spec, build(NoOptions(), device))


def _scorer(
    size: tuple[int, int, int] | None, seed: int, device: str
) -> Callable[[RewardBatch], Any]:
    if size is None:
        return lambda batch: batch.images[:, seed % 3].flatten(1).mean(1).cpu().numpy()
    width, layers, heads = size
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = CLIPVisionConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            image_size=_SIDE,
            patch_size=14,
        )
        low = torch.device(device).type == "cuda"
        tower = CLIPVisionModel(config).to(device, torch.bfloat16 if low else torch.float32).eval()

    @torch.no_grad()
    def score(batch: RewardBatch) -> Any:
        images = torch.nn.functional.interpolate(batch.images, (_SIDE, _SIDE)).to(tower.device)
        features = tower(images.to(tower.dtype)).pooler_output
        return features.float()[:, 0].cpu().numpy()

    return score


def model_folder(name: str, folder: Path) -> str:
    """A folder of configurations inside ``folder`` for ``small``; any other name as it is."""
    return str(_small_model(folder)) if name == SMALL else name


def _small_model(folder: Path) -> Path:
    """SD3.5 Medium's configurations with fewer and narrower layers, in diffusers' layout."""
    target = folder / "small-sd3"
    if target.exists():
        return target
    changes: dict[str, dict[str, Any]] = {
        "transformer": {
            "num_layers": 11,
            "num_attention_heads": 8,
            "caption_projection_dim": 512,
            "joint_attention_dim": 512,
            "pooled_projection_dim": 512,
            "pos_embed_max_size": 64,
            "dual_attention_layers": [0, 1, 2],
        },
        "vae": {"block_out_channels": [32, 64, 128, 128]},
        "text_encoder": {"num_hidden_layers": 4, "hidden_size": 256, "projection_dim": 256},
        "text_encoder_2": {"num_hidden_layers": 4, "hidden_size": 256, "projection_dim": 256},
        "text_encoder_3": {"num_layers": 4, "d_model": 512, "d_ff": 1024, "num_heads": 8},
        "scheduler": {},
    }
    heads = {"text_encoder": 4, "text_encoder_2": 4}
    shipped = shipped_architecture("stabilityai/stable-diffusion-3.5-medium")
    for part, file in SD3.spec.parts.items():
        config = {**shipped.parts[part], **changes[part]}
        if part in heads:
            config |= {"num_attention_heads": heads[part], "intermediate_size": 1024}
        (target / file).parent.mkdir(parents=True, exist_ok=True)
        (target / file).write_text(json.dumps(config))
    classes = {
        "transformer": ["diffusers", "SD3Transformer2DModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "text_encoder": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "text_encoder_3": ["transformers", "T5EncoderModel"],
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    }
    index = {"_class_name": "StableDiffusion3Pipeline", **classes}
    (target / "model_index.json").write_text(json.dumps(index))
    return target


def _variants(options: Options, folder: Path) -> Iterator[tuple[str, Variant]]:
    """Make the variants one by one, and warm each up before the next one.

    Two steps are needed for that: the second one is the first in which the old policy runs, because
    it isn't the trained one any more.
    """
    built: list[Variant] = []
    makers = {
        BASELINE: _published,
        "marble": partial(_marble, rewards=options.rewards),
        "single": partial(_marble, rewards=1),
    }
    for name, make in makers.items():
        variant = make(options, folder)
        variant.step()
        variant.step()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            variant.idle = torch.cuda.memory_allocated() - sum(other.idle for other in built)
        built.append(variant)
        yield name, variant


def _published(options: Options, folder: Path) -> Variant:
    plain = replace(options, dtype="fp32", compile=False, gradient_checkpointing=False)
    recipe = make_recipe(plain, folder, options.rewards)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    architecture = examine_model(recipe.model).architecture
    pipeline = load_pipeline(LoadRequest(recipe.model, architecture)).to(device)
    low = torch.float16 if device.type == "cuda" else torch.bfloat16
    autocast = torch.float32 if options.dtype == "fp32" else low
    suite = synthetic_suite(options.rewards, options.tower, str(device))
    run = published.make_published(recipe, pipeline, autocast, suite, options.micro_batch_size)
    prompts = list(random_prompts(options.prompts))
    watched = (
        (backbone.Backbone, "encode", "text encoders"),
        (published, "integrate", "sampling"),
        (backbone.Backbone, "decode", "decoding"),
        (published, "scores", "waiting for rewards"),
        (published, "train_rows", "loss"),
        (published, "backward", "backward"),
    )
    return Variant(
        partial(published.published_step, run, prompts),
        (*watched, *_optimizer(run.optimizer)),
    )


def _marble(options: Options, folder: Path, rewards: int) -> Variant:
    recipe = make_recipe(options, folder, rewards)
    prompts = PromptSets((random_prompts(options.prompts),), {})
    suite = partial(synthetic_suite, rewards, options.tower)
    trainer = open_trainer(open_sampler(recipe, prompts, suite))
    watched = (
        (rollout, "integrate", "sampling"),
        (backbone.Backbone, "decode", "decoding"),
        (collect, "sample_and_score", "waiting for rewards"),
        (of_batch, "contracted_gradients", "loss"),
        (torch.autograd, "backward", "backward"),
        (steps, "measure", "balance"),
        (loop, "conflict_record", "balance"),
    )
    return Variant(_steps(trainer), (*watched, *_optimizer(trainer.optimizer)))


def _optimizer(optimizer: torch.optim.Optimizer) -> tuple[tuple[Any, str, str], ...]:
    return ((optimizer, "step", "optimizer"),)


def _steps(trainer: Trainer) -> Callable[[], None]:
    progress = Progress()

    def step() -> None:
        nonlocal progress
        progress, _ = train_step(trainer, Unrecorded(), progress)

    return step


def _timed_step(variant: Variant, idle: int) -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    started = now()
    variant.step()
    variant.seconds.append(now() - started)
    if torch.cuda.is_available():
        # The other variants are on the device, too, but don't run.
        peak = torch.cuda.max_memory_allocated() - (idle - variant.idle)
        variant.peak = max(variant.peak, peak)


def _split_step(variant: Variant) -> None:
    watch = Stopwatch()
    with (
        watch.watching(*variant.watched),
        _forward_passes(watch),
        watch.fresh() as split,
    ):
        variant.step()
    variant.split = split


@contextmanager
def _forward_passes(watch: Stopwatch) -> Iterator[None]:
    """Inside, the policies' forward passes for a loss are stages of their own, by policy."""
    plain = Policies.velocity

    def velocity(policies: Policies, name: Any, *inputs: Any) -> Tensor:
        if watch.current != "loss":
            return plain(policies, name, *inputs)
        with watch.stage(f"{name} forward"):
            return plain(policies, name, *inputs)

    with patch.object(Policies, "velocity", velocity):
        yield


def _document(options: Options, variants: Mapping[str, Variant], images: int) -> dict[str, Any]:
    return {
        "options": {key: str(value) for key, value in asdict(options).items()},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "images_per_step": images,
        "variants": {
            name: {
                "seconds": variant.seconds,
                "images_per_second": images / statistics.median(variant.seconds),
                "split": variant.split,
                "peak_bytes": variant.peak or None,
            }
            for name, variant in variants.items()
        },
    }


def _show(variants: Mapping[str, Variant], images: int) -> None:
    table = Table(title="one optimizer step")
    table.add_column("")
    for name in variants:
        table.add_column(name, justify="right")
    medians = {name: statistics.median(v.seconds) for name, v in variants.items()}
    base = variants[BASELINE]

    def row(title: str, cell: Callable[[str], str]) -> None:
        table.add_row(title, *(cell(name) for name in variants))

    row("seconds", lambda name: f"{medians[name]:.2f}")
    row("images a second", lambda name: f"{images / medians[name]:.3f}")
    row("speed", lambda name: f"{medians[BASELINE] / medians[name]:.2f}")
    if base.peak:
        row("peak memory, GiB", lambda name: f"{variants[name].peak / 2**30:.1f}")
    stages = dict.fromkeys(stage for v in variants.values() for stage in v.split if stage != OTHER)
    table.add_section()
    for stage in (*stages, OTHER):
        row(f"{stage}, s", lambda name, stage=stage: f"{variants[name].split.get(stage, 0.0):.2f}")
    Console().print(table)


def _parse() -> Options:
    parser = argparse.ArgumentParser(
        description="Whole steps as published and as here: time split, images a second, memory.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    cuda = torch.cuda.is_available()
    parser.add_argument("--model", default=SMALL, help=f"{SMALL}, or a hub id that is shipped")
    parser.add_argument("--resolution", type=int, default=128)
    parser.add_argument("--prompts", type=int, default=2)
    parser.add_argument("--group-size", type=int, default=4)
    parser.add_argument("--noise-levels", type=int, default=8)
    parser.add_argument("--micro-batch-size", type=int, default=4)
    parser.add_argument("--sampler-steps", type=int, default=8)
    parser.add_argument("--pull-share", "--anchor-share", type=float, default=1.0)
    parser.add_argument("--rewards", type=int, default=5)
    parser.add_argument("--tower", choices=list(_TOWERS), default="small")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), default="bf16" if cuda else "fp32")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--gradient-checkpointing", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-cap", type=float, help="GiB that the process may use, on CUDA")
    parser.add_argument("--json", type=Path)
    return Options(**vars(parser.parse_args()))


if __name__ == "__main__":
    main()
