"""What a forward pass of the transformer leaves for the backward passes, counted from its sizes.

Counted block by block, as diffusers' SD3 blocks and the contracted pass of
:mod:`marblecli.train.contraction` save them on CUDA: autocast runs linear layers and attention in
bf16 and layer norms in float32, and a frozen linear layer saves nothing. Per token of width w, that
is for LoRA: the norms' inputs, the adapters' inputs, queries and keys before and after their norm,
what attention saves (q, k, v, its output and a logarithm a head) and the feed-forward's inner
layer, 4 w. Training all weights adds the inputs of every layer and the factors of every gate and
modulation.

Left out, because they are small: vectors (one row an image). DoRA's own terms aren't counted. A
first block whose attention has no adapters is counted as if it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from marblecli.planning.parameter_counts import TransformerShape, adapted_linears
from marblecli.settings import ModelSettings

FULL = 4
"""Bytes of a float32."""
_QKV = {
    "image": ("attn.to_q", "attn.to_k", "attn.to_v"),
    "context": ("attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"),
    "dual": ("attn2.to_q", "attn2.to_k", "attn2.to_v"),
}
_OUT = {"image": "attn.to_out.0", "context": "attn.to_add_out", "dual": "attn2.to_out.0"}
_FEED_FORWARD = {"image": "ff", "context": "ff_context"}


@dataclass(frozen=True)
class Tokens:
    """Of one image."""

    image: int
    context: int


@dataclass(frozen=True)
class ActivationCount:
    """Bytes for one image at one noise level."""

    saved: int
    """Held between the forward and the backward pass."""
    recomputed: int
    """With gradient checkpointing, what the block that is run again holds; else 0."""


def count_activations(
    shape: TransformerShape, model: ModelSettings, tokens: Tokens
) -> ActivationCount:
    """What one row of a micro-batch saves in the trained policy's pass."""
    counter = _Counter(shape, model, tokens)
    blocks = [sum(counter.block(layer)) for layer in range(shape.layers)]
    ends = sum(counter.ends())
    if not model.gradient_checkpointing:
        return ActivationCount(sum(blocks) + ends, 0)
    inputs = shape.layers * counter.low * (tokens.image + tokens.context) * shape.width
    return ActivationCount(inputs + ends, max(blocks))


class _Counter:
    def __init__(self, shape: TransformerShape, model: ModelSettings, tokens: Tokens) -> None:
        self.shape = shape
        self.tokens = tokens
        self.full = model.mode == "full"
        self.low = FULL if model.dtype == "fp32" else 2
        self.rank = model.lora.rank
        adapted = [] if self.full else adapted_linears(shape, model.lora)
        self._adapted = {linear.name for linear in adapted}

    def block(self, layer: int) -> Iterator[int]:
        """Bytes by kind; what needs no gradient in LoRA mode's first block isn't saved."""
        first, last = layer == 0, layer == self.shape.layers - 1
        for stream, count in (("image", self.tokens.image), ("context", self.tokens.context)):
            open_end = stream == "context" and last
            yield self._norm(count, wanted=self.full or not first)
            yield self._attention_inputs(layer, stream, count)
            yield self._queries_and_keys(count)
            if not open_end:
                yield self._gate(count)
                yield self._norm(count, wanted=True)
                yield self._feed_forward(layer, stream, count)
        yield self._attention(layer, ("image", "context"))
        if layer in self.shape.dual_layers:
            yield from self._dual_attention(layer, wanted=self.full or not first)

    def ends(self) -> Iterator[int]:
        """Outside the blocks: the last norm and projection."""
        yield self._norm(self.tokens.image, wanted=True)
        if self.full:
            yield FULL * self.tokens.image * self.shape.width

    def _norm(self, count: int, *, wanted: bool) -> int:
        """A layer norm with its modulation: input, mean and deviation; output, if all trains."""
        width = self.shape.width
        own = FULL * count * (width + 2)
        return (own if wanted else 0) + (FULL * count * width if self.full else 0)

    def _dual_attention(self, layer: int, *, wanted: bool) -> Iterator[int]:
        adapted = self._is_adapted(layer, *_QKV["dual"])
        count = self.tokens.image
        yield self._attention_inputs(layer, "dual", count)
        if wanted or adapted:
            yield self._queries_and_keys(count)
            yield self._attention(layer, ("dual",))
            yield self._gate(count)

    def _attention_inputs(self, layer: int, place: str, count: int) -> int:
        """One input for all three projections, and what their adapters put between."""
        adapted = self._is_adapted(layer, *_QKV[place])
        copies = FULL * count * self.shape.width if self.full or adapted else 0
        return copies + adapted * self.low * count * self.rank

    def _queries_and_keys(self, count: int) -> int:
        """Their RMS norms: two copies where autocast mixes precisions, and a scale a head."""
        if not self.shape.qk_norm:
            return 0
        width = self.shape.width
        if self.full:
            return 2 * self.low * count * width
        copies = FULL if self.low == FULL else FULL + self.low
        return 2 * count * (copies * width + FULL * self.shape.heads)

    def _attention(self, layer: int, streams: Sequence[str]) -> int:
        """What the product itself saves, and the inputs of the projections after it."""
        width, image, context = self.shape.width, self.tokens.image, self.tokens.context
        counts = {"image": image, "context": context, "dual": image}
        count = sum(counts[stream] for stream in streams)
        total = count * (4 * self.low * width + FULL * self.shape.heads)
        if self.full:
            # All weights in float32 make float32 of normalised queries, and so of the output.
            return total + count * width * (FULL if self.shape.qk_norm else self.low)
        adapted = [stream for stream in streams if self._is_adapted(layer, _OUT[stream])]
        ranks = sum(self.low * counts[stream] * self.rank for stream in adapted)
        return total + ranks + (self.low * count * width if adapted else 0)

    def _gate(self, count: int) -> int:
        """What is multiplied with a gate that is trained."""
        return self.low * count * self.shape.width if self.full else 0

    def _feed_forward(self, layer: int, stream: str, count: int) -> int:
        width, name = self.shape.width, _FEED_FORWARD[stream]
        inner = self.low * 4 * count * width
        if self.full:
            return 2 * inner + FULL * count * width + self._gate(count)
        into = self._is_adapted(layer, f"{name}.net.0.proj")
        out = self._is_adapted(layer, f"{name}.net.2")
        ranks = (into + out) * self.low * count * self.rank
        return inner + into * FULL * count * width + out * inner + ranks

    def _is_adapted(self, layer: int, *names: str) -> int:
        return sum(f"transformer_blocks.{layer}.{name}" in self._adapted for name in names)
