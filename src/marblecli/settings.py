"""The recipe's tables as typed, frozen models: what may be set, and between which bounds.

This is a ground file, like ``types`` and ``errors``: every room reads its settings from here,
and only :mod:`marblecli.runs.recipe` makes them, from TOML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

Share = Annotated[float, Field(ge=0.0, le=1.0)]

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?|offload")


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _with_options(table: Any, own: Set[str]) -> Any:
    """The table with all keys but marble's own gathered under ``options``."""
    if not isinstance(table, Mapping):
        return table
    ours = {key: value for key, value in table.items() if key in own}
    return {**ours, "options": {key: value for key, value in table.items() if key not in own}}


class RunSettings(_Table):
    """``[run]``"""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    seed: NonNegativeInt = 0


class LoraSettings(_Table):
    """``[model.lora]``: the adapters of LoRA mode, initialised as published: Gaussian A, zero B."""

    rank: PositiveInt = 32
    alpha: PositiveFloat = 64
    targets: tuple[str, ...] | Literal["all-linear"] | None = None
    """Ends of the dotted names of the layers that are adapted; ``all-linear`` takes every
    projection of attention and every feed-forward layer. Where absent, the model family's own."""
    dora: bool = False
    """DoRA: adapters of the weights' direction, and their length besides."""

    @field_validator("targets", mode="before")
    @classmethod
    def _names_or_all(cls, targets: Any) -> Any:
        if isinstance(targets, str) and targets != "all-linear":
            raise ValueError(f"must be a list of names or 'all-linear', got {targets!r}")
        if isinstance(targets, Sequence) and not targets:
            raise ValueError("must name at least one layer, or be 'all-linear'")
        return targets


class ModelSettings(_Table):
    """``[model]``: the keys below are marble's own, every other key is the model family's."""

    pretrained: str
    """A hub id, or a folder in diffusers' layout, relative to the recipe."""
    revision: str | None = None
    """The hub revision to load."""
    random_weights: bool = False
    """Build the model from its configuration alone, with weights drawn from ``run.seed``."""
    mode: Literal["lora", "full"] = "lora"
    dtype: Literal["fp32", "bf16"] = "bf16"
    """Precision of the frozen weights and of autocast; trained weights stay in float32."""
    embedding_cache: Path | None = None
    """A folder for the prompts' embeddings, which any number of runs may share; if it has all of
    them, no text encoder is loaded. Kept in memory only where absent."""
    gradient_checkpointing: bool = False
    """Keep only the blocks' inputs for the backward passes and compute the rest again."""
    vae_tiling: bool = False
    """Decode at most 512 x 512 pixels at a time, larger images in overlapping tiles, blended. Each
    tile is normalised by itself: an image differs a little from one decoded whole, at the seams and
    elsewhere."""
    shard: bool = False
    """Full mode: divide all weights, and what has their size, among the processes of the run."""
    offload: bool = False
    """Full mode: hold all weights, and what has their size, in the CPU's memory. A block's weights
    come to the device while it runs; the optimizer steps on the CPU. Divided as by ``shard``."""
    compile: bool = False
    """torch.compile the transformer's blocks; the contracted pass stays as it is."""
    lora: LoraSettings = LoraSettings()
    options: Mapping[str, Any] = {}
    """The family's keys, which its own schema checks."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _with_options(table, OWN_MODEL_KEYS)

    def with_options(self, **options: Any) -> Self:
        """The settings with some of the family's options set anew."""
        return self.model_copy(update={"options": {**self.options, **options}})

    @property
    def divided(self) -> bool:
        """Whether weights are whole only while they run, among processes or for one."""
        return self.shard or self.offload


OWN_MODEL_KEYS = frozenset(ModelSettings.model_fields.keys() - {"options"})
"""Keys of ``[model]`` that no family may use."""


class PromptSettings(_Table):
    """``[prompts.SOURCE]``: .txt (a prompt a line) or .jsonl (``prompt`` and metadata)."""

    train: Path
    eval: Path | None = None


class RewardSettings(_Table):
    """``[rewards.NAME]``: the keys below are marble's own, every other key is the plugin's."""

    sources: tuple[str, ...] | None = None
    """Prompt sources that the reward applies to; all that carry its metadata where absent."""
    weight: NonNegativeFloat = 1.0
    """Its weight in the method ``weighted-sum``."""
    batch_size: PositiveInt | None = None
    """Images of one call; all that were sampled together where absent."""
    device: str | None = None
    """Where it scores; where the model is trained if absent. ``offload`` keeps its weights on the
    CPU and moves them there only to score."""
    timeout: Annotated[float, Field(gt=0.0, le=86400.0)] = 600.0
    """Seconds of one call; what takes longer is a fault."""
    options: Mapping[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _with_options(table, OWN_REWARD_KEYS)

    @field_validator("device", mode="after")
    @classmethod
    def _known_device(cls, device: str | None) -> str | None:
        if device is not None and not _DEVICE.fullmatch(device):
            raise ValueError(f"must be cpu, cuda, cuda:N, mps or offload, got {device!r}")
        return device


OWN_REWARD_KEYS = frozenset(RewardSettings.model_fields.keys() - {"options"})
"""Keys of ``[rewards.NAME]`` that no plugin may use."""


class SamplingSettings(_Table):
    """``[sampling]``: the rollout of the old policy."""

    resolution: Annotated[int, Field(ge=16, multiple_of=8)] = 512
    steps: Annotated[int, Field(ge=2)] = 25
    """Evaluations of the network by the second-order ODE solver."""
    group_size: Annotated[int, Field(ge=2)] = 24
    """Images of one prompt: advantages are relative to their mean."""
    prompts_per_step: PositiveInt = 48
    batch_size: PositiveInt = 24
    """Images sampled and decoded at a time."""


class OldPolicySettings(_Table):
    """``[training.old_policy]``: theta_old <- eta theta_old + (1 - eta) theta after every step."""

    slope: NonNegativeFloat = 0.001
    cap: Share = 0.95
    wait: NonNegativeInt = 0
    """Steps before eta = min(slope * (step - wait), cap) starts to rise from zero."""


class TrainingSettings(_Table):
    """``[training]``"""

    steps: PositiveInt
    learning_rate: PositiveFloat = 3e-4
    weight_decay: NonNegativeFloat = 1e-4
    max_grad_norm: PositiveFloat = 1.0
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon; one far above the gradient's elements makes the step follow the gradient's
    own direction instead of its signs."""
    micro_batch_size: PositiveInt | Literal["auto"] = 9
    """Images that go through the trained network at a time; it doesn't change the result, but for
    the micro-batches that ``anchor_share`` draws. ``auto`` starts with all and halves until they
    fit; a number is halved, too, when the device runs out of memory."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """AdamW, or bitsandbytes' with its two averages in 8 bits."""
    noise_levels: PositiveInt = 24
    """Levels of the sampler's grid, drawn without replacement, that each image is trained at."""
    gradients: Literal["contracted", "backward"] = "contracted"
    """How the rewards' gradients are found: all by two backward passes, or by one each."""
    anchor_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Share of micro-batches, drawn at random, on which the pull towards the old policy and the
    regulariser are computed (and reweighted)."""
    mix: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """beta of DiffusionNFT: how far v+ and v- stand from the old policy."""
    kl_weight: NonNegativeFloat = 1e-4
    advantage_clip: PositiveFloat = 5.0
    advantage_scale: Literal["batch", "group"] = "batch"
    """Over what the standard deviation of a reward is taken."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    ema_on_cpu: bool = False
    """Keep the moving average in the CPU's memory: the device holds a copy of the trained weights
    less, which are sent there once a step."""
    old_policy: OldPolicySettings = OldPolicySettings()
    max_faults: NonNegativeInt = 10
    """Times that a reward or its gradient may fail (raise, NaN) in a run before it stops."""

    @field_validator("micro_batch_size", mode="before")
    @classmethod
    def _size_or_auto(cls, size: Any) -> Any:
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size != "auto" and not (whole and size > 0):
            raise ValueError(f"must be a whole number above 0 or 'auto', got {size!r}")
        return size


BalanceMethod = Literal[
    "marble",
    "weighted-sum",
    "equal",
    "single",
    "sequential",
    "marble-published",
    "pcgrad",
    "upgrad",
    "torchjd:aligned-mtl",
    "torchjd:cagrad",
    "torchjd:dualproj",
    "torchjd:fairgrad",
    "torchjd:imtl-g",
    "torchjd:mgda",
    "torchjd:nash-mtl",
    "torchjd:pcgrad",
    "torchjd:upgrad",
]
"""docs/balance.md says what each does."""


class BalancePhase(_Table):
    """``[[balance.phases]]``"""

    method: BalanceMethod
    until: PositiveInt
    """The last step of the phase; the next one starts after it."""


class BalanceSettings(_Table):
    """``[balance]``"""

    method: BalanceMethod = "marble"
    """Of all steps, or of those after the last phase."""
    phases: Sequence[BalancePhase] = ()
    """Methods of the first steps, in order."""
    solver: str = "wolfe"
    """Of ``marble``'s QP: ``wolfe``, ``cvxpy``, or ``cvxpy:NAME`` for a solver it has installed."""
    refresh_every: PositiveInt = 1
    """Steps for which the coefficients of a measured batch are used."""
    priorities: Mapping[str, PositiveFloat] = {}
    """By reward, 1 where absent: ``marble`` makes the worst cosine per priority the largest, so
    that twice the priority asks for twice the cosine."""
    floors: Mapping[str, Annotated[float, Field(ge=0.0, lt=1.0)]] = {}
    """By reward, 0 where absent: the least share of its unit gradient in ``marble``'s mixture."""
    reward: str | None = None
    """The one that ``single`` follows."""
    stage_steps: PositiveInt = 100
    """Steps for which ``sequential`` follows one reward before it turns to the next."""
    gram: Literal["whole", "signal"] = "whole"
    """What the balance is solved on: whole gradients, or without their pull to the old policy."""
    memory: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """What the cosines and norms of earlier batches count in the balance; 0 for this batch only."""
    shrinkage: Share = 0.0
    """How much nearer to orthogonal the balance takes the gradients to be; 1 is ``equal``."""

    @field_validator("solver", mode="after")
    @classmethod
    def _known_solver(cls, solver: str) -> str:
        if solver not in ("wolfe", "cvxpy") and not solver.startswith("cvxpy:"):
            raise ValueError(f"must be 'wolfe', 'cvxpy' or 'cvxpy:NAME', got {solver!r}")
        return solver

    @field_validator("phases", mode="after")
    @classmethod
    def _one_after_another(cls, phases: Sequence[BalancePhase]) -> Sequence[BalancePhase]:
        ends = [phase.until for phase in phases]
        if ends != sorted(set(ends)):
            raise ValueError(f"each must end after the one before it, got until = {ends}")
        return tuple(phases)

    @field_validator("floors", mode="after")
    @classmethod
    def _leave_room(cls, floors: Mapping[str, float]) -> Mapping[str, float]:
        if (total := sum(floors.values())) >= 1.0:
            raise ValueError(f"must sum to less than 1, got {total:g}")
        return floors

    @model_validator(mode="after")
    def _used_by_a_method(self) -> Self:
        methods = {self.method, *(phase.method for phase in self.phases)}
        if (self.priorities or self.floors) and "marble" not in methods:
            raise ValueError(f"only the method marble takes priorities and floors: {self.method}")
        if "single" in methods and self.reward is None:
            raise ValueError('the method single needs a reward = "NAME"')
        return self


class MeasureSettings(_Table):
    """``[measure]``: what is measured of the conflicts beyond what training needs."""

    parts: bool = True
    """Keep the rewards' signal, by halves of the batch, apart from the pull towards the old policy.
    Without, the gradients take a third of the memory, and there are no slices."""
    fresh_every: NonNegativeInt = 0
    """Steps between measurements on new images, which cost a rollout each; 0 for none."""
    slices_every: NonNegativeInt = 10
    """Steps between measurements by prompt source and noise level; 0 for none."""
    reused: bool = False
    """Measure also the steps that reuse coefficients (``balance.refresh_every`` above 1): every
    step leaves a record, and takes the backward passes of a refreshed one."""


class EvalSettings(_Table):
    """``[eval]``: the trained weights' moving average, on training and held-out prompts."""

    every: NonNegativeInt = 50
    """Steps between evaluations; 0 evaluates only at the start and the end."""
    steps: Annotated[int, Field(ge=2)] = 40
    train_prompts: NonNegativeInt = 32
    """Training prompts evaluated, spread evenly over the sources' files; 0 for none."""
    held_out_prompts: NonNegativeInt = 64
    images_per_prompt: Annotated[int, Field(ge=1)] = 4
    """Images of each held-out prompt."""
    images_per_train_prompt: Annotated[int, Field(ge=2)] = 8


class CheckpointSettings(_Table):
    """``[checkpoint]``: one is always saved at the end."""

    every: NonNegativeInt = 50
    keep_last: PositiveInt = 3


class TrackingSettings(_Table):
    """``[tracking]``: accelerate's trackers."""

    log_with: tuple[Literal["tensorboard"], ...] = ()


class Recipe(_Table):
    """A whole recipe."""

    run: RunSettings = RunSettings()
    model: ModelSettings
    prompts: Annotated[Mapping[str, PromptSettings], Field(min_length=1)]
    rewards: Annotated[Mapping[str, RewardSettings], Field(min_length=1)]
    sampling: SamplingSettings = SamplingSettings()
    training: TrainingSettings
    balance: BalanceSettings = BalanceSettings()
    measure: MeasureSettings = MeasureSettings()
    eval: EvalSettings = EvalSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    tracking: TrackingSettings = TrackingSettings()

    @field_validator("rewards", mode="after")
    @classmethod
    def _some_weight(cls, rewards: Mapping[str, RewardSettings]) -> Mapping[str, RewardSettings]:
        if not any(reward.weight for reward in rewards.values()):
            raise ValueError("at least one reward needs a weight above 0")
        return rewards

    @field_validator("balance", mode="after")
    @classmethod
    def _of_known_rewards(cls, balance: BalanceSettings, info: ValidationInfo) -> BalanceSettings:
        rewards = info.data.get("rewards", {})
        named = {*balance.priorities, *balance.floors, *filter(None, [balance.reward])}
        if rewards and (unknown := sorted(named - rewards.keys())):
            raise ValueError(f"no reward {unknown[0]!r}; choose from {', '.join(sorted(rewards))}")
        return balance
