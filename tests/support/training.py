"""A real SD3 transformer, small enough for float64 backward passes in milliseconds; and, below,
whole trainers on a tiny random pipeline, with what they recorded."""

from __future__ import annotations

import json
import multiprocessing
import os
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import SD3Transformer2DModel
from torch import Tensor
from torch.distributed import TCPStore  # type: ignore[attr-defined] # public, not in its types

from marblecli.conflicts.record import ConflictRecord
from marblecli.models.conditioning import Conditioning
from marblecli.models.full_policies import FullPolicies
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.planning.live_bytes import LiveBytes
from marblecli.rewards import RewardSpec
from marblecli.rewards.score import ActiveReward, RewardSuite
from marblecli.rewards.spec import RewardBatch
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.settings import LoraSettings, Recipe
from marblecli.train.batch import LossSettings, TrainingBatch
from marblecli.train.loop import train
from marblecli.train.recorder import Callbacks, EvaluationReport, Outcome, StepReport
from marblecli.train.sampler import PromptSets, open_sampler
from marblecli.train.trainer import Trainer, open_trainer
from marblecli.types import EvaluationRecord, Prompt, RewardChange, Snapshot

IMAGES, LEVELS, REWARDS = 6, 2, 5


def make_transformer() -> SD3Transformer2DModel:
    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=4,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=2,
        joint_attention_dim=12,
        caption_projection_dim=16,
        pooled_projection_dim=8,
        pos_embed_max_size=4,
        dual_attention_layers=(0,),
        qk_norm="rms_norm",
    )
    for parameter in transformer.parameters():
        # Modulations start at zero in a new model, which would hide most of the network.
        torch.nn.init.normal_(parameter, std=0.2)
    return transformer


def make_policies(
    mode: str, dtype: torch.dtype = torch.float32, autocast: torch.dtype = torch.float32
) -> Policies:
    """Policies whose trained, old and reference weights differ."""
    transformer = make_transformer()
    policies: Policies
    if mode == "lora":
        policies = LoraPolicies(SD3, transformer, LoraSettings(rank=3, alpha=6), autocast)
    else:
        policies = FullPolicies(SD3, transformer, autocast)
    for name in ("trained", "old", "reference"):
        policies.network(name).to(dtype=dtype)
    disturb(policies, 0)
    policies.blend_old(0.4)
    disturb(policies, 1)
    return policies


@torch.no_grad()
def disturb(policies: Policies, seed: int) -> None:
    g = torch.Generator().manual_seed(seed)
    for parameter in policies.trained_parameters().values():
        parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))


@pytest.fixture
def policies_of() -> Callable[..., Policies]:
    return make_policies


@pytest.fixture
def loss_settings() -> LossSettings:
    return LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=1e-2, micro_batch_size=4)


@pytest.fixture
def batch() -> TrainingBatch:
    return make_batch(torch.float32)


def make_batch(dtype: torch.dtype, seed: int = 0) -> TrainingBatch:
    g = torch.Generator().manual_seed(seed)
    valid = (torch.rand(IMAGES, REWARDS, generator=g) < 0.6).to(dtype)
    valid[0] = 1.0
    grid = torch.linspace(0.1, 0.95, 8, dtype=dtype)
    order = torch.stack([torch.randperm(8, generator=g)[:LEVELS] for _ in range(IMAGES)])
    return TrainingBatch(
        latents=torch.randn(IMAGES, 4, 4, 4, generator=g, dtype=dtype),
        conditioning=Conditioning(
            {
                "context": torch.randn(IMAGES, 3, 12, generator=g, dtype=dtype),
                "pooled": torch.randn(IMAGES, 8, generator=g, dtype=dtype),
            }
        ),
        levels=grid[order],
        advantages=valid * torch.randn(IMAGES, REWARDS, generator=g, dtype=dtype),
        optimality=torch.rand(IMAGES, REWARDS, generator=g, dtype=dtype),
        # Shares 300-fold apart make the gradients' norms differ 30-fold or more.
        shares=valid / valid.sum(0) * torch.logspace(0, 2.5, REWARDS, dtype=dtype),
        halves=(torch.arange(IMAGES) % 4 < 2)[:, None].expand(IMAGES, LEVELS),
        noise_seed=(seed, 1),
    )


@pytest.fixture
def moved_to() -> Callable[[TrainingBatch, str], TrainingBatch]:
    return moved


def moved(batch: TrainingBatch, device: str) -> TrainingBatch:
    names = ("latents", "levels", "advantages", "optimality", "shares", "halves")
    conditioning = batch.conditioning.to(torch.device(device))
    fields = {name: getattr(batch, name).to(device) for name in names}
    return replace(batch, conditioning=conditioning, **fields)


def cut(batch: TrainingBatch, start: int, stop: int) -> TrainingBatch:
    """The part of the batch of a process that has the images from ``start`` to ``stop``."""
    mine = slice(start, stop)
    return replace(
        batch,
        latents=batch.latents[mine],
        conditioning=batch.conditioning[mine],
        levels=batch.levels[mine],
        advantages=batch.advantages[mine],
        optimality=batch.optimality[mine],
        shares=batch.shares[mine],
        halves=batch.halves[mine],
        selection=None if batch.selection is None else batch.selection.of(mine),
        start=start,
        elsewhere=len(batch.latents) - len(batch.latents[mine]),
    )


@pytest.fixture
def part_of() -> Callable[[TrainingBatch, int, int], TrainingBatch]:
    return cut


@pytest.fixture
def batch_of() -> Callable[..., TrainingBatch]:
    return make_batch


@pytest.fixture
def transformer() -> SD3Transformer2DModel:
    return make_transformer()


PROMPTS = PromptSets(
    train=(
        (Prompt("a red square on black", "scenes"), Prompt("a blue circle on white", "scenes")),
        (Prompt('the text "EH" in blue on black', "letters", {"text": "EH"}),),
    ),
    evaluation={
        "train": (
            Prompt('the text "EH" in blue on black', "letters", {"text": "EH"}),
            Prompt("a red square on black", "scenes"),
        ),
        "held-out": (
            Prompt("a green square on black", "scenes"),
            Prompt("a red circle on black", "scenes"),
        ),
    },
)
REWARD_NAMES = ("bright", "red", "contrast")
"""``contrast`` applies to prompts with text only."""


def _bright(batch: RewardBatch) -> np.ndarray:
    return batch.images.mean((1, 2, 3)).numpy()


def _red(batch: RewardBatch) -> np.ndarray:
    return (batch.images[:, 0] - batch.images[:, 2]).mean((1, 2)).numpy()


def _contrast(batch: RewardBatch) -> np.ndarray:
    return batch.images.std((1, 2, 3)).numpy()


SCORERS = {"bright": _bright, "red": _red, "contrast": _contrast}
Scorer = Callable[[RewardBatch], Any]


def tiny_recipe(folder: Path, overrides: Mapping[str, Any]) -> Recipe:
    """A recipe with 4 steps; ``overrides`` are by dotted key."""
    table: dict[str, Any] = {
        "run": {"seed": 0},
        "model": {
            "pretrained": str(folder),
            "dtype": "fp32",
            "max_sequence_length": 1,
            "lora": {"rank": 2, "alpha": 4},
        },
        "prompts": {"scenes": {"train": "scenes.txt"}, "letters": {"train": "letters.jsonl"}},
        "rewards": {name: {} for name in REWARD_NAMES},
        "sampling": {
            "resolution": 16,
            "steps": 3,
            "group_size": 3,
            "prompts_per_step": 2,
            "batch_size": 6,
        },
        "training": {
            "steps": 4,
            "learning_rate": 1e-2,
            "micro_batch_size": 6,
            "noise_levels": 2,
            "kl_weight": 0.0,
            "old_policy": {"slope": 0.1, "cap": 0.5},
        },
        "eval": {
            "every": 0,
            "steps": 2,
            "images_per_prompt": 1,
            "images_per_train_prompt": 2,
        },
        "checkpoint": {"every": 0},
    }
    for key, value in overrides.items():
        *tables, last = key.split(".")
        place = table
        for name in tables:
            place = place.setdefault(name, {})
        place[last] = value
    return Recipe.model_validate(table)


@pytest.fixture
def recipe_of(tiny_folder: Path) -> Callable[..., Recipe]:
    """Overrides by dotted key -> the tiny recipe with them."""
    return lambda **overrides: tiny_recipe(tiny_folder, overrides)


def make_suite(faulty: Mapping[str, Scorer]) -> RewardSuite:
    """The three rewards; those in ``faulty`` have the given scorers."""
    scorers = {**SCORERS, **faulty}
    return RewardSuite([ActiveReward(_spec(name), score) for name, score in scorers.items()])


def _spec(name: str) -> RewardSpec:
    metadata = ("text",) if name == "contrast" else ()
    return RewardSpec(name, "", lambda _options, _device: None, images="float", metadata=metadata)


def open_recipe(
    recipe: Recipe,
    faulty: Mapping[str, Scorer] | None = None,
    prompts: PromptSets = PROMPTS,
) -> Trainer:
    """A trainer on the recipe's model; rewards in ``faulty`` have the given scorers."""
    sampler = open_sampler(
        recipe, prompts, lambda _device: make_suite(faulty or {}), open_store=EmbeddingCache
    )
    return open_trainer(sampler)


@pytest.fixture(scope="session")
def open_tiny(tiny_folder: Path) -> Iterator[Callable[..., Trainer]]:
    """(overrides by dotted key, faulty rewards) -> a trainer on the tiny model."""
    opened: list[Trainer] = []

    def open_it(
        overrides: Mapping[str, Any] | None = None, faulty: Mapping[str, Scorer] | None = None
    ) -> Trainer:
        trainer = open_recipe(tiny_recipe(tiny_folder, overrides or {}), faulty)
        opened.append(trainer)
        return trainer

    yield open_it
    for trainer in opened:
        trainer.sampler.suite.close()


def copied(snapshot: Snapshot) -> Snapshot:
    """A copy of the snapshot as a checkpoint would keep it: new tensors, and JSON."""
    tensors = {
        stem: {name: tensor.detach().clone() for name, tensor in part.items()}
        for stem, part in snapshot.tensors.items()
    }
    return replace(snapshot, tensors=tensors, state=json.loads(json.dumps(snapshot.state)))


@dataclass
class Recorded:
    """A recorder that keeps everything, also what the other callbacks get."""

    metrics: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[ConflictRecord] = field(default_factory=list)
    evaluations: dict[int, EvaluationRecord] = field(default_factory=dict)
    compared: dict[int, Mapping[str, tuple[RewardChange, ...]]] = field(default_factory=dict)
    images: dict[tuple[int, str], Tensor] = field(default_factory=dict)
    """By step and split, those of every evaluation."""
    checkpoints: list[Snapshot] = field(default_factory=list)
    reports: list[StepReport] = field(default_factory=list)
    shown: list[EvaluationReport] = field(default_factory=list)

    def step(self, metrics: Mapping[str, Any]) -> None:
        self.metrics.append(json.loads(json.dumps(metrics, allow_nan=False)))

    def conflict(self, record: ConflictRecord) -> None:
        self.conflicts.append(record)

    def evaluation(self, record: EvaluationRecord) -> None:
        self.evaluations[record.step] = record

    def changes(self, step: int, changes: Mapping[str, tuple[RewardChange, ...]]) -> None:
        self.compared[step] = changes

    def samples(self, record: EvaluationRecord, images: Mapping[str, Tensor]) -> None:
        assert record == self.evaluations[record.step]
        for split, part in images.items():
            assert len(part) == len(record.images[split])
            self.images[record.step, split] = part

    def checkpoint(self, snapshot: Snapshot) -> None:
        self.checkpoints.append(copied(snapshot))

    def callbacks(self, stop_after: int | None = None) -> Callbacks:
        """Callbacks that ask the loop to stop once it has done ``stop_after`` steps."""
        return Callbacks(
            self,
            self.reports.append,
            self.shown.append,
            lambda: stop_after is not None and len(self.metrics) >= stop_after,
        )


@pytest.fixture
def recorded() -> Recorded:
    return Recorded()


@pytest.fixture(scope="session")
def run_tiny(
    tiny_folder: Path, open_tiny: Callable[..., Trainer]
) -> Callable[..., tuple[Recorded, Outcome]]:
    """Like ``open_tiny``, then train to the end; the result of an equal run is reused."""
    done: dict[str, tuple[Recorded, Outcome]] = {}

    def run(
        overrides: Mapping[str, Any] | None = None,
        faulty: Mapping[str, Scorer] | None = None,
        saved: Snapshot | None = None,
        earlier: Sequence[EvaluationRecord] = (),
    ) -> tuple[Recorded, Outcome]:
        key = tiny_recipe(tiny_folder, overrides or {}).model_dump_json()
        fresh = bool(faulty) or saved is not None or bool(earlier)
        if not fresh and key in done:
            return done[key]
        record = Recorded()
        outcome = train(open_tiny(overrides, faulty), record.callbacks(), saved, earlier)
        if not fresh:
            done[key] = record, outcome
        return record, outcome

    return run


@pytest.fixture
def new_record() -> Callable[[], Recorded]:
    return Recorded


ROOT = Path(__file__).parents[2]


def _in_group(rank: int, count: int, port: int, job: Callable[..., Any], *arguments: Any) -> Any:
    with ExitStack() as stack:
        # If this process fails, the others would wait for it for half an hour.
        stack.callback(os._exit, 1)
        stack.callback(traceback.print_exc)
        os.environ.update(
            RANK=str(rank),
            LOCAL_RANK=str(rank),
            WORLD_SIZE=str(count),
            LOCAL_WORLD_SIZE=str(count),
            MASTER_ADDR="127.0.0.1",
            MASTER_PORT=str(port),
            OMP_NUM_THREADS="1",
            TORCHELASTIC_RESTART_COUNT="0",
            TORCHELASTIC_USE_AGENT_STORE="True",
        )
        torch.set_num_threads(1)
        done = job(rank, count, *arguments)
        stack.pop_all()
    return done


@pytest.fixture(scope="session")
def run_group() -> Callable[..., list[Any]]:
    """(count, job, arguments) -> what ``job(rank, count, *arguments)`` returned, by rank.

    The job is a function of a test module: it runs in processes of its own, as a launcher's.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["marblecli.train.loop", "marblecli.train.sampler"])

    def run(count: int, job: Callable[..., Any], *arguments: Any) -> list[Any]:
        store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        with pytest.MonkeyPatch.context() as patch, ProcessPoolExecutor(count, context) as pool:
            patch.syspath_prepend(ROOT)
            here = (count, store.port, job, *arguments)
            waiting = [pool.submit(_in_group, rank, *here) for rank in range(count)]
            return [each.result(timeout=300) for each in waiting]

    return run


@pytest.fixture
def live_bytes() -> LiveBytes:
    return LiveBytes()
