"""The recipe's tables as typed, frozen models. docs/recipe.md is generated from their docstrings.

Only :mod:`marblecli.runs.recipe` makes them, from TOML; every room reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
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
    field_validator,
    model_validator,
)

Share = Annotated[float, Field(ge=0.0, le=1.0)]

_DEVICE = re.compile(r"cpu|mps|cuda(:\d+)?|offload")


class _Table(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


def _gathered(table: Any, model: type[BaseModel]) -> Any:
    """The table with the keys that ``model`` doesn't know gathered under ``options``."""
    if not isinstance(table, Mapping):
        return table
    own = model.model_fields.keys() - {"options"}
    ours = {key: value for key, value in table.items() if key in own}
    rest = {key: value for key, value in table.items() if key not in own}
    return {**ours, "options": rest}


class RunSettings(_Table):
    """``[run]``: the run's name and seed."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = "run"
    """The run directory is named ``runs/NAME-TIMESTAMP`` unless ``--run-dir`` says otherwise."""
    seed: NonNegativeInt = 0
    """Seeds everything that is drawn at random: prompts, noise and the first adapters."""


class LoraSettings(_Table):
    """``[model.lora]``: the adapters of LoRA mode. A starts as Gaussian noise and B as zeros."""

    rank: PositiveInt = 32
    """The rank of each adapter."""
    alpha: PositiveFloat = 64
    """The adapter's output is multiplied by ``alpha / rank``."""
    targets: tuple[str, ...] | Literal["all-linear"] | None = None
    """Ends of the dotted names of the layers that are adapted. ``all-linear`` takes every
    projection of attention and every feed-forward layer. If absent, the model family's own."""
    dora: bool = False
    """Use DoRA: the adapter changes the weights' direction, and their length is trained too."""

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
    """The hub revision to load; the newest if absent."""
    random_weights: bool = False
    """Build the model from its configuration alone, with weights drawn from ``run.seed``."""
    mode: Literal["lora", "full"] = "lora"
    """``lora`` trains adapters; ``full`` trains all weights, beside two frozen copies of them."""
    dtype: Literal["fp32", "bf16"] = "bf16"
    """Precision of the frozen weights and of autocast; trained weights stay in float32."""
    embedding_cache: Path | None = None
    """Keep the prompts' embeddings in this folder, which runs may share. If it holds all that a
    run needs, no text encoder is loaded. If absent, they are kept in memory only."""
    gradient_checkpointing: bool = False
    """Keep only the blocks' inputs for the backward passes, and compute the rest again."""
    vae_tiling: bool = False
    """Decode in overlapping tiles of 512 x 512 pixels, to save memory; images differ a little."""
    shard: bool = False
    """Full mode: shard weights, gradients, averages and optimizer state over the processes."""
    offload: bool = False
    """Full mode: hold the same in the CPU's memory, also sharded over the processes. A block's
    weights come to the device while the block runs; the optimizer steps on the CPU."""
    compile: bool = False
    """Compile the transformer's blocks with torch.compile, but for the contracted backward pass."""
    lora: LoraSettings = LoraSettings()
    options: Mapping[str, Any] = {}
    """The family's keys, which its own schema checks."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _gathered(table, cls)

    def with_options(self, **options: Any) -> Self:
        """The settings with some of the family's options set anew."""
        return self.model_copy(update={"options": {**self.options, **options}})

    @property
    def sharded(self) -> bool:
        """Whether weights are sharded or offloaded, so that they are whole only while they run."""
        return self.shard or self.offload


OWN_MODEL_KEYS = frozenset(ModelSettings.model_fields.keys() - {"options"})
"""Keys of ``[model]`` that no family may use."""


class PromptSettings(_Table):
    """``[prompts.SOURCE]``: .txt (a prompt on each line) or .jsonl (``prompt`` and metadata)."""

    train: Path
    """The training prompts, relative to the recipe."""
    eval: Path | None = None
    """The held-out prompts, relative to the recipe; none if absent."""


class RewardSettings(_Table):
    """``[rewards.NAME]``: a reward of this name, or ``NAME_LABEL`` to use one several times."""

    sources: tuple[str, ...] | None = None
    """Prompt sources that the reward is limited to; if absent, all whose prompts it applies to."""
    weight: NonNegativeFloat = 1.0
    """The weight of this reward in the method ``weighted-sum``."""
    batch_size: PositiveInt | None = None
    """Images scored in one call; if absent, all that were sampled together."""
    device: str | None = None
    """Where the reward scores: ``cpu``, ``cuda``, ``cuda:N``, ``mps`` or ``offload``, which keeps
    its weights on the CPU while it isn't scoring. If absent, where the model is trained."""
    timeout: Annotated[float, Field(gt=0.0, le=86400.0)] = 600.0
    """Seconds that one call may take; a call that takes longer is a fault."""
    options: Mapping[str, Any] = {}
    """Every other key is the reward's own: see docs/rewards.md, and the README of its package."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _gathered(table, cls)

    @field_validator("device", mode="after")
    @classmethod
    def _known_device(cls, device: str | None) -> str | None:
        if device is not None and not _DEVICE.fullmatch(device):
            raise ValueError(f"must be cpu, cuda, cuda:N, mps or offload, got {device!r}")
        return device


OWN_REWARD_KEYS = frozenset(RewardSettings.model_fields.keys() - {"options"})
"""Keys of ``[rewards.NAME]`` that no plugin may use."""


class SamplingSettings(_Table):
    """``[sampling]``: how the old policy samples the images of a training step."""

    resolution: Annotated[int, Field(ge=16, multiple_of=8)] = 512
    """Height and width of an image in pixels."""
    steps: Annotated[int, Field(ge=2)] = 25
    """Evaluations of the network by the second-order ODE solver for each image."""
    group_size: Annotated[int, Field(ge=2)] = 24
    """Images of one prompt. Their advantages are relative to their mean score."""
    prompts_per_step: PositiveInt = 48
    """Prompts of one optimizer step, over all processes."""
    batch_size: PositiveInt = 24
    """Images sampled and decoded at a time."""


class OldPolicySettings(_Table):
    """``[training.old_policy]``: how the policy that samples follows the trained one.

    After every step its weights become ``decay * old + (1 - decay) * trained``, with
    ``decay = min(slope * (step - wait), cap)`` after ``wait`` steps and 0 before.
    """

    slope: NonNegativeFloat = 0.001
    """What the decay grows by in one step."""
    cap: Share = 0.95
    """The largest decay."""
    wait: NonNegativeInt = 0
    """Steps before the decay starts to grow."""


class TrainingSettings(_Table):
    """``[training]``: the loss, the optimizer, and how a step is split into micro-batches."""

    steps: PositiveInt
    """Optimizer steps of the run."""
    learning_rate: PositiveFloat = 3e-4
    """AdamW's learning rate, the same in every step."""
    weight_decay: NonNegativeFloat = 1e-4
    """AdamW's weight decay."""
    max_grad_norm: PositiveFloat = 1.0
    """A combined gradient with a larger norm is scaled down to this norm."""
    adam_epsilon: PositiveFloat = 1e-8
    """AdamW's epsilon. One far above the gradient's elements makes the step follow the gradient's
    direction rather than the signs of its elements."""
    micro_batch_size: PositiveInt | Literal["auto"] = 9
    """Images that go through the trained network at a time, halved when memory runs out; ``auto``
    starts with all. The result depends on it only where ``pull_share`` is below 1."""
    optimizer: Literal["adamw", "adamw-8bit"] = "adamw"
    """``adamw-8bit`` is bitsandbytes' AdamW, which keeps its two averages in 8 bits."""
    noise_levels: PositiveInt = 24
    """Noise levels that each image is trained at, drawn from the sampler's without replacement."""
    gradients: Literal["contracted", "backward"] = "contracted"
    """``contracted`` finds all rewards' gradients by two backward passes, ``backward`` by K + 1."""
    pull_share: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """Compute the pull towards the old policy and the regulariser on this share of micro-batches,
    drawn at random, and multiply them by its inverse."""
    mix: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    """DiffusionNFT's beta: how far its two implicit policies are from the old one."""
    kl_weight: NonNegativeFloat = 1e-4
    """The weight of the regulariser, which keeps the policy near the base model; 0 for none."""
    advantage_clip: PositiveFloat = 5.0
    """Advantages are clipped to this many standard deviations."""
    advantage_scale: Literal["batch", "group"] = "batch"
    """Take a reward's standard deviation over the whole batch or over each prompt's images."""
    ema_decay: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """The decay of the trained weights' moving average, which is what is evaluated."""
    ema_on_cpu: bool = False
    """Keep the moving average in the CPU's memory. Trained weights are sent there every step."""
    old_policy: OldPolicySettings = OldPolicySettings()
    max_faults: NonNegativeInt = 10
    """The run stops when rewards or their gradients have failed more often than this."""

    @field_validator("micro_batch_size", mode="before")
    @classmethod
    def _size_or_auto(cls, size: Any) -> Any:
        whole = isinstance(size, int) and not isinstance(size, bool)
        if size != "auto" and not (whole and size > 0):
            raise ValueError(f"must be a whole number above 0 or 'auto', got {size!r}")
        return size


class BalancePhase(_Table):
    """``[[balance.phases]]``: a method for the first steps; other keys are the method's own."""

    method: str
    """The method of the phase."""
    until: PositiveInt
    """The last step of the phase; the next one starts after it."""
    options: Mapping[str, Any] = {}
    """Every other key is an option of the method."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _gathered(table, cls)


class BalanceSettings(_Table):
    """``[balance]``: how the rewards' gradients become one direction."""

    method: str = "marble"
    """The method of all steps, or of those after the last phase; ``marble methods list`` shows what
    is installed."""
    phases: Sequence[BalancePhase] = ()
    """The methods of the first steps, in order."""
    refresh_every: PositiveInt = 1
    """Steps for which the coefficients of a measured batch are used."""
    gram: Literal["whole", "signal"] = "whole"
    """The gradients that the method sees: whole ones, or only their signal, without the pull
    towards the old policy."""
    memory: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """What the cosines and norms of earlier batches count for the method; 0 for this batch only."""
    shrinkage: Share = 0.0
    """How far the cosines that the method sees are shrunk towards 0; with 1 it sees orthogonal
    gradients."""
    options: Mapping[str, Any] = {}
    """Every other key is an option of the method, or of the phases' methods."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return _gathered(table, cls)

    @field_validator("phases", mode="after")
    @classmethod
    def _one_after_another(cls, phases: Sequence[BalancePhase]) -> Sequence[BalancePhase]:
        ends = [phase.until for phase in phases]
        if ends != sorted(set(ends)):
            raise ValueError(f"each must end after the one before it, got until = {ends}")
        return tuple(phases)


OWN_BALANCE_KEYS = frozenset((BalanceSettings.model_fields | BalancePhase.model_fields).keys()) - {
    "options"
}
"""Keys of ``[balance]`` and its phases that no method may use."""


class MeasureSettings(_Table):
    """``[measure]``: what is measured of the conflicts beyond what training needs."""

    parts: bool = True
    """Measure the signal of each half of the batch, and the pull towards the old policy, apart.
    ``false`` takes a third of the memory for gradients, and rules out measurements by slice."""
    fresh_every: NonNegativeInt = 0
    """Steps between measurements on fresh images, each of which costs a rollout; 0 for none."""
    slices_every: NonNegativeInt = 10
    """Steps between measurements by prompt source and noise level; 0 for none."""
    reused: bool = False
    """Also measure steps that reuse coefficients; they then take as many passes as the others."""


class EvalSettings(_Table):
    """``[eval]``: evaluations of the trained weights' moving average."""

    every: NonNegativeInt = 50
    """Steps between evaluations; 0 evaluates only at the start and the end."""
    steps: Annotated[int, Field(ge=2)] = 40
    """Evaluations of the network by the ODE solver for each image."""
    train_prompts: NonNegativeInt = 32
    """Training prompts evaluated, spread evenly over the sources' files; 0 for none."""
    held_out_prompts: NonNegativeInt = 64
    """Held-out prompts evaluated, spread evenly over the sources' files; 0 for none."""
    images_per_prompt: Annotated[int, Field(ge=1)] = 4
    """Images of each held-out prompt."""
    images_per_train_prompt: Annotated[int, Field(ge=2)] = 8
    """Images of each training prompt."""


class CheckpointSettings(_Table):
    """``[checkpoint]``: when the run is saved. The last step is always saved."""

    every: NonNegativeInt = 50
    """Steps between checkpoints; 0 saves only at the end, or when interrupted."""
    keep_last: PositiveInt = 3
    """Checkpoints kept; older ones are deleted."""


class TrackingSettings(_Table):
    """``[tracking]``: trackers that the metrics are also sent to."""

    log_with: tuple[Literal["tensorboard"], ...] = ()
    """The trackers, by name."""


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
