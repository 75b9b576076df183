"""What a plan asks of a model, answered from the model's configurations.

No other module of the plan knows a family. Parts are built on the meta device; no weight is read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import nn

from marblecli.engine.shards import Shards
from marblecli.models.architectures import Architecture
from marblecli.models.backbone import Backbone, Conditioning
from marblecli.models.blueprint import ENCODERS, assemble, build_part
from marblecli.models.policies import Policies, make_policies
from marblecli.settings import ModelSettings

_CLIP_TOKENS = 77


@dataclass(frozen=True)
class Subject:
    """A model of which only the configurations are known."""

    architecture: Architecture

    def network(self) -> nn.Module:
        """A new copy of the network that trains, in float32 on the meta device."""
        return self._build("transformer")

    @cached_property
    def vae(self) -> nn.Module:
        """In float32 on the meta device."""
        return self._build("vae")

    def encoders(self, model: ModelSettings) -> dict[str, nn.Module]:
        """The text encoders that a run uses, by part, in float32 on the meta device."""
        skipped = "text_encoder_3" if model.t5 == "none" else None
        return {name: part for name, part in self._encoders.items() if name != skipped}

    @cached_property
    def _encoders(self) -> dict[str, nn.Module]:
        return {name: self._build(name) for name in ENCODERS if name in self.architecture.parts}

    def _build(self, part: str) -> nn.Module:
        with torch.device("meta"):
            return build_part(part, self.architecture.parts[part])

    def in_8_bits(self, model: ModelSettings) -> frozenset[str]:
        """The text encoders whose linear layers are kept in 8 bits, by part."""
        return frozenset({"text_encoder_3"} if model.t5 == "8bit" else ())

    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """The repeated blocks, in the order in which they run."""
        return tuple(network.get_submodule("transformer_blocks").children())

    def policies(self, network: nn.Module, model: ModelSettings, shards: Shards) -> Policies:
        """The recipe's three policies; the network is taken over and changed."""
        return make_policies(network, model, shards)

    def checkpoint(self, policies: Policies, *, wanted: bool) -> None:
        """Turn gradient checkpointing of the trained network on or off."""
        if wanted:
            policies.checkpoint_blocks()
        else:
            policies.checkpoints = None
            policies.network("trained").disable_gradient_checkpointing()

    def frozen(self, parts: Mapping[str, nn.Module], model: ModelSettings) -> Backbone:
        """What encodes prompts and decodes images, made of the parts that it is given."""
        return assemble({**parts, "transformer": self.network()}, model)

    def describe(self) -> str:
        """The network's sizes in a few words."""
        config = self.architecture.parts["transformer"]
        layers = config.get("num_layers", 18)
        width = config.get("num_attention_heads", 18) * config.get("attention_head_dim", 64)
        second = sum(layer < layers for layer in config.get("dual_attention_layers") or ())
        dual = f", {second} with a second attention" if second else ""
        return f"{layers} layers of width {width}{dual}"

    def latent_shape(self, side: int) -> tuple[int, int, int]:
        """[C, h, w] of the latents of an image of ``side`` x ``side`` pixels."""
        widths = self.architecture.parts["vae"].get("block_out_channels", [64])
        places = side // 2 ** (len(widths) - 1)
        return (self.architecture.parts["transformer"].get("in_channels", 16), places, places)

    def conditioning_shapes(self, model: ModelSettings) -> dict[str, tuple[int, ...]]:
        """By name, the shape of each tensor that tells the network of one prompt."""
        parts = self.architecture.parts
        transformer, clip = parts["transformer"], parts.get("text_encoder", {})
        tokens = clip.get("max_position_embeddings", _CLIP_TOKENS) + model.max_sequence_length
        return {
            "context": (tokens, transformer.get("joint_attention_dim", 4096)),
            "pooled": (transformer.get("pooled_projection_dim", 2048),),
        }

    def conditioning(self, model: ModelSettings, rows: int, dtype: torch.dtype) -> Conditioning:
        """That of some rows, in tensors of zeros that are made here."""
        shapes = self.conditioning_shapes(model)
        context, pooled = (
            torch.zeros(rows, *shapes[name], dtype=dtype) for name in ("context", "pooled")
        )
        return Conditioning(context, pooled)
