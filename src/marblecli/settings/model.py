"""``[model]``: which model is trained, in what form, and where its weights lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import PositiveFloat, PositiveInt, field_validator, model_validator

from marblecli.settings.table import Table, gathered


class LoraSettings(Table):
    """``[model.lora]``: the adapters of LoRA mode. Without ``init``, A starts as Gaussian noise and
    B as zeros.
    """

    rank: PositiveInt = 32
    """The rank of each adapter."""
    alpha: PositiveFloat = 64
    """The adapter's output is multiplied by ``alpha / rank``."""
    targets: tuple[str, ...] | Literal["all-linear"] | None = None
    """Ends of the dotted names of the layers that are adapted. ``all-linear`` takes every
    projection of attention and every feed-forward layer. If absent, the model family's own."""
    dora: bool = False
    """Use DoRA: the adapter changes the weights' direction, and their length is trained too."""
    init: Path | None = None
    """Start from this adapter: a safetensors file or its folder, of diffusers, PEFT, ComfyUI or
    kohya, or a run directory or a checkpoint of marble. Rank, alpha, targets and ``dora`` must be
    its own. The reference policy stays the base model. If absent, start from the base model."""

    @field_validator("targets", mode="before")
    @classmethod
    def _names_or_all(cls, targets: Any) -> Any:
        if isinstance(targets, str) and targets != "all-linear":
            raise ValueError(f"must be a list of names or 'all-linear', got {targets!r}")
        if isinstance(targets, Sequence) and not targets:
            raise ValueError("must name at least one layer, or be 'all-linear'")
        return targets


class ModelSettings(Table):
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
        return gathered(table, cls)

    def with_options(self, **options: Any) -> Self:
        """The settings with some of the family's options set anew."""
        return self.model_copy(update={"options": {**self.options, **options}})

    @property
    def sharded(self) -> bool:
        """Whether weights are sharded or offloaded, so that they are whole only while they run."""
        return self.shard or self.offload


OWN_MODEL_KEYS = frozenset(ModelSettings.model_fields.keys() - {"options"})
"""Keys of ``[model]`` that no family may use."""
