"""How many parameters each part of a Stable Diffusion 3 has, counted from its configuration.

Formulas, so that a plan needs no torch; tests hold them against the real classes on the meta
device. Keys that a configuration leaves out have the defaults of diffusers' and transformers'
classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from marblecli.models.architectures import Config
from marblecli.models.sd3.family import PUBLISHED_TARGETS
from marblecli.settings import LoraSettings

Stream = Literal["image", "context", "vector"]
"""Whose tokens a layer sees; a vector is one row an image, such as the noise level's embedding."""

_TIME_CHANNELS = 256
_FEED_FORWARD = 4
_ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")


@dataclass(frozen=True)
class Linear:
    """One linear layer of the transformer."""

    name: str
    inputs: int
    outputs: int
    stream: Stream

    @property
    def parameters(self) -> int:
        """Weight and bias."""
        return (self.inputs + 1) * self.outputs


@dataclass(frozen=True)
class TransformerShape:
    """The sizes of an ``SD3Transformer2DModel``."""

    layers: int
    heads: int
    head_width: int
    dual_layers: frozenset[int]
    """Layers whose image tokens have a second attention, among themselves (SD3.5 Medium)."""
    qk_norm: bool
    patch: int
    channels: int
    out_channels: int
    context_width: int
    pooled_width: int
    positions: int
    """Side of the table of positional embeddings, which is a buffer."""

    @property
    def width(self) -> int:
        return self.heads * self.head_width

    def linears(self) -> Iterator[Linear]:
        """All linear layers, by diffusers' names."""
        w = self.width
        for name, inputs in (("timestep", _TIME_CHANNELS), ("text", self.pooled_width)):
            embedder = f"time_text_embed.{name}_embedder"
            yield Linear(f"{embedder}.linear_1", inputs, w, "vector")
            yield Linear(f"{embedder}.linear_2", w, w, "vector")
        yield Linear("context_embedder", self.context_width, w, "context")
        for layer in range(self.layers):
            for linear in self.block_linears(layer):
                yield Linear(
                    f"transformer_blocks.{layer}.{linear.name}",
                    linear.inputs,
                    linear.outputs,
                    linear.stream,
                )
        yield Linear("norm_out.linear", w, 2 * w, "vector")
        yield Linear("proj_out", w, self.patch**2 * self.out_channels, "image")

    def block_linears(self, layer: int) -> Iterator[Linear]:
        """Those of one block, by their names in it."""
        w, last = self.width, layer == self.layers - 1
        dual = layer in self.dual_layers
        yield Linear("norm1.linear", w, (9 if dual else 6) * w, "vector")
        yield Linear("norm1_context.linear", w, (2 if last else 6) * w, "vector")
        for name in _ATTENTION:
            yield Linear(f"attn.{name}", w, w, "image")
        for name in ("add_q_proj", "add_k_proj", "add_v_proj"):
            yield Linear(f"attn.{name}", w, w, "context")
        if dual:
            for name in _ATTENTION:
                yield Linear(f"attn2.{name}", w, w, "image")
        yield from _feed_forward("ff", w, "image")
        if not last:
            yield Linear("attn.to_add_out", w, w, "context")
            yield from _feed_forward("ff_context", w, "context")

    @property
    def parameters(self) -> int:
        """All of them; positional embeddings aren't parameters."""
        patches = (self.patch**2 * self.channels + 1) * self.width
        norms = self.head_width * (4 * self.layers + 2 * len(self.dual_layers))
        own = sum(linear.parameters for linear in self.linears())
        return patches + own + (norms if self.qk_norm else 0)

    @property
    def buffers(self) -> int:
        """The positional embeddings."""
        return self.positions**2 * self.width


def _feed_forward(name: str, width: int, stream: Stream) -> Iterator[Linear]:
    yield Linear(f"{name}.net.0.proj", width, _FEED_FORWARD * width, stream)
    yield Linear(f"{name}.net.2", _FEED_FORWARD * width, width, stream)


def transformer_shape(config: Config) -> TransformerShape:
    """Of a ``transformer/config.json``."""
    channels = config.get("in_channels", 16)
    layers = config.get("num_layers", 18)
    dual = config.get("dual_attention_layers") or ()
    return TransformerShape(
        layers=layers,
        heads=config.get("num_attention_heads", 18),
        head_width=config.get("attention_head_dim", 64),
        dual_layers=frozenset(layer for layer in dual if layer < layers),
        qk_norm=config.get("qk_norm") is not None,
        patch=config.get("patch_size", 2),
        channels=channels,
        out_channels=config.get("out_channels", 16) or channels,
        context_width=config.get("joint_attention_dim", 4096),
        pooled_width=config.get("pooled_projection_dim", 2048),
        positions=config.get("pos_embed_max_size", 96),
    )


def adapted_linears(shape: TransformerShape, lora: LoraSettings) -> list[Linear]:
    """The linear layers that get an adapter."""
    if lora.targets == "all-linear":
        return [
            linear
            for linear in shape.linears()
            if linear.name.startswith("transformer_blocks.") and linear.stream != "vector"
        ]
    return [
        linear
        for linear in shape.linears()
        if any(
            f".{linear.name}".endswith(f".{target}") for target in lora.targets or PUBLISHED_TARGETS
        )
    ]


def adapter_parameters(shape: TransformerShape, lora: LoraSettings) -> int:
    """Of one adapter."""
    linears = adapted_linears(shape, lora)
    factors = sum(lora.rank * (linear.inputs + linear.outputs) for linear in linears)
    return factors + (sum(linear.outputs for linear in linears) if lora.dora else 0)


def vae_parameters(config: Config) -> int:
    """Of an ``AutoencoderKL`` of down- and up-blocks without attention but in the middle."""
    widths = config.get("block_out_channels", [64])
    layers, latents = config.get("layers_per_block", 1), config.get("latent_channels", 4)
    deepest = widths[-1]
    middle = 2 * _resnet(deepest, deepest)
    if config.get("mid_block_add_attention", True):
        middle += 4 * (deepest + 1) * deepest + 2 * deepest
    encoder = _conv(config.get("in_channels", 3), widths[0]) + _conv(deepest, 2 * latents)
    decoder = _conv(latents, deepest) + _conv(widths[0], config.get("out_channels", 3))
    for inputs, outputs in zip([widths[0], *widths], widths, strict=False):
        encoder += _resnet(inputs, outputs) + (layers - 1) * _resnet(outputs, outputs)
    for inputs, outputs in zip([deepest, *widths[::-1]], widths[::-1], strict=False):
        decoder += _resnet(inputs, outputs) + layers * _resnet(outputs, outputs)
    # Every block but the last halves or doubles the side, by a convolution of its own width.
    encoder += sum(_conv(width, width) for width in widths[:-1])
    decoder += sum(_conv(width, width) for width in widths[1:])
    norms = 2 * deepest + 2 * widths[0]
    quant = (2 * latents + 1) * 2 * latents if config.get("use_quant_conv", True) else 0
    post = (latents + 1) * latents if config.get("use_post_quant_conv", True) else 0
    return encoder + decoder + 2 * middle + norms + quant + post


def _conv(inputs: int, outputs: int) -> int:
    return (9 * inputs + 1) * outputs


def _resnet(inputs: int, outputs: int) -> int:
    shortcut = (inputs + 1) * outputs if inputs != outputs else 0
    return _conv(inputs, outputs) + _conv(outputs, outputs) + 2 * (inputs + outputs) + shortcut


def clip_parameters(config: Config) -> int:
    """Of a ``CLIPTextModelWithProjection``."""
    width, inner = config.get("hidden_size", 512), config.get("intermediate_size", 2048)
    layer = 4 * (width + 1) * width + (width + 1) * inner + (inner + 1) * width + 4 * width
    words = config.get("vocab_size", 49408) + config.get("max_position_embeddings", 77)
    projection = width * config.get("projection_dim", 512)
    return words * width + config.get("num_hidden_layers", 12) * layer + 2 * width + projection


def t5_parameters(config: Config) -> int:
    """Of a ``T5EncoderModel``."""
    width, inner = config.get("d_model", 512), config.get("d_ff", 2048)
    layers, heads = config.get("num_layers", 6), config.get("num_heads", 8)
    gated = str(config.get("feed_forward_proj", "relu")).startswith("gated-")
    attention = 4 * width * heads * config.get("d_kv", 64)
    layer = attention + (3 if gated else 2) * width * inner + 2 * width
    biases = config.get("relative_attention_num_buckets", 32) * heads
    return config.get("vocab_size", 32128) * width + layers * layer + biases + width
