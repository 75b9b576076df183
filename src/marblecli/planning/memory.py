"""The device memory that a recipe takes, counted from configurations: nothing is built or measured.

What lives when follows the run: the prompts are embedded with the text encoders beside the VAE; the
transformer takes their place, and the old policy samples a batch; the VAE decodes and the rewards
score it; gradients of one micro-batch after another go into the accumulators; the update holds them
beside the step's own copies. The largest of the five is the peak.

With ``model.shard``, what has the size of the weights is divided by the number of processes, each
network's weights are whole a block at a time, and gradients a few at a time. With ``model.offload``
the same, and what is divided is in the CPU's memory.

Tensors that live long are exact. Activations are counted by :mod:`marblecli.planning.activations`.
What a pass holds only for a moment is in proportion to its tokens, by constants that were measured
on small models. Assumed: a gigabyte for CUDA's context, its libraries' workspaces and what the
allocator leaves unused.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from marblecli.models.architectures import Architecture
from marblecli.models.at_once import EMBEDDED_PROMPTS, TILE, images_decoded
from marblecli.models.sd3.options import sd3_options
from marblecli.models.sd3.shapes import downsampling
from marblecli.planning.activations import FULL, ActivationCount, Tokens, count_activations
from marblecli.planning.parameter_counts import (
    TransformerShape,
    adapter_parameters,
    clip_parameters,
    t5_parameters,
    transformer_shape,
    vae_parameters,
)
from marblecli.settings import Recipe

Phase = Literal["prompts", "sampling", "decoding", "gradients", "update"]
PHASES: tuple[Phase, ...] = ("prompts", "sampling", "decoding", "gradients", "update")
_SAMPLED: tuple[Phase, ...] = ("sampling", "decoding")
_TRAINED: tuple[Phase, ...] = ("gradients", "update")
_AFTER_PROMPTS = _SAMPLED + _TRAINED

GIB = 2**30
_TILE_STEP = 0.75
"""Of a tile to the next; diffusers lets them overlap by the rest."""
_CUDA = GIB
_CLIP_TOKENS = 77
_PASS = 11
"""Widths a token that a pass without gradients holds at most, and a backward pass besides."""
_RECOMPUTED_PASS = 17
"""The same with gradient checkpointing, which carries all vectors through a block together."""
_BESIDE_PRODUCTS = 5
_RECOMPUTED_BESIDE_PRODUCTS = 10
"""What of them is held while a layer's gradient is found, sample by sample."""
_NOISE_THIRDS = 3
_WHOLE_BLOCKS = 3
"""One that runs, and those that FSDP2 gathers before and lets go of after it."""
_SENT_AT_ONCE = 2 * FULL * 2 * 2**24
"""Gradients on their way to their rows, as they were found and as they are sent."""
_UPDATE_COPIES = 2
"""Of the trained weights: the gradient, and the weights before, which become their change."""


@dataclass(frozen=True)
class Item:
    """One use of memory."""

    label: str
    bytes: Mapping[Phase, int]
    """Of the phases that it lives in."""
    on_cpu: bool = False
    """In the CPU's memory, not the device's."""


@dataclass(frozen=True)
class MemoryPlan:
    """What a run holds, in its five phases."""

    items: tuple[Item, ...]
    trained: int
    """Parameters that are trained."""
    row: int
    """Bytes of activations of one image at one noise level, kept for its backward passes."""
    row_otherwise: int
    """The same with gradient checkpointing turned the other way."""
    unknown_rewards: tuple[str, ...]
    """Rewards on the device that don't say what their weights take."""

    def total(self, phase: Phase) -> int:
        """Bytes of the device in use at once in a phase."""
        return self._sum(phase, on_cpu=False)

    @property
    def cpu_peak(self) -> int:
        """Bytes of the CPU's memory that stand in for the device's, in the phase with the most."""
        return max(self._sum(phase, on_cpu=True) for phase in PHASES)

    def _sum(self, phase: Phase, *, on_cpu: bool) -> int:
        return sum(item.bytes.get(phase, 0) for item in self.items if item.on_cpu == on_cpu)

    @property
    def peak(self) -> Phase:
        """The phase that takes the most."""
        return max(PHASES, key=self.total)

    def excess(self, limit: int) -> int:
        """Bytes beyond ``limit``, summed over the phases; 0 for a plan that fits."""
        return sum(max(0, self.total(phase) - limit) for phase in PHASES)


@dataclass(frozen=True)
class RewardWeights:
    """Bytes of a reward's weights on the device; None where it doesn't say."""

    bytes: int | None
    offloaded: bool = False
    """On the device only while it scores."""


def count_memory(
    recipe: Recipe,
    architecture: Architecture,
    rewards: Mapping[str, RewardWeights],
    processes: int = 1,
) -> MemoryPlan:
    """The plan of one process that has the whole batch. ``rewards`` are those on its device.

    A micro-batch size of ``auto`` is counted as one image. ``processes`` are those that divide the
    weights, if the recipe says so.
    """
    counter = _Counter(recipe, architecture, processes)
    items = [
        *counter.weights(),
        *counter.policies(),
        *counter.rewards(rewards),
        *counter.prompts(),
        *counter.sampling(),
        *counter.gradients(),
        *counter.whole_weights(),
        Item("CUDA's own (assumed)", dict.fromkeys(PHASES, _CUDA)),
    ]
    unknown = tuple(name for name, weights in rewards.items() if weights.bytes is None)
    return MemoryPlan(
        items=tuple(item for item in items if any(item.bytes.values())),
        trained=counter.trained,
        row=counter.activations().saved,
        row_otherwise=counter.activations(turned=True).saved,
        unknown_rewards=unknown,
    )


def micro_batch_images(recipe: Recipe) -> int:
    """Images of a micro-batch, as far as the recipe says; ``auto`` says one at least."""
    size = recipe.training.micro_batch_size
    return 1 if size == "auto" else min(size, images_of_a_step(recipe))


def images_of_a_step(recipe: Recipe) -> int:
    """Images sampled for one optimizer step."""
    return recipe.sampling.prompts_per_step * recipe.sampling.group_size


class _Counter:
    def __init__(self, recipe: Recipe, architecture: Architecture, processes: int) -> None:
        self.recipe = recipe
        self.model = recipe.model
        self.options = sd3_options(recipe.model)
        self.parts = architecture.parts
        self.shape: TransformerShape = transformer_shape(self.parts["transformer"])
        self.low = FULL if self.model.dtype == "fp32" else 2
        self.full = self.model.mode == "full"
        self.away = self.full and self.model.offload
        self.processes = processes if self.full and self.model.sharded else 1
        self.sharded = self.away or self.processes > 1
        # Of what is offloaded, buffers stay on the device.
        buffers = 0 if self.away else self.shape.buffers
        self.transformer = self._rows(self.shape.parameters) + buffers
        adapter = adapter_parameters(self.shape, self.model.lora)
        self.trained = self.shape.parameters if self.full else adapter
        self.held = self._rows(self.trained)
        self.side = recipe.sampling.resolution // downsampling(self.parts["vae"])
        context = _CLIP_TOKENS + self.options.max_sequence_length
        if "text_encoder" in self.parts:
            places = self.parts["text_encoder"].get("max_position_embeddings", _CLIP_TOKENS)
            context += places - _CLIP_TOKENS
        self.tokens = Tokens(image=(self.side // self.shape.patch) ** 2, context=context)
        self.images = images_of_a_step(recipe)

    def _rows(self, parameters: int) -> int:
        """What one process has of them."""
        return -(-parameters // self.processes)

    def weights(self) -> Iterator[Item]:
        """The VAE, the text encoders, and the transformer as far as it is frozen."""
        vae = self.low * vae_parameters(self.parts["vae"])
        yield Item("VAE", dict.fromkeys(PHASES, vae))
        frozen = "reference policy (frozen)" if self.full else "transformer (frozen)"
        yield Item(frozen, _at(_AFTER_PROMPTS, self._network(self.low)), self.away)
        if self.away:
            positions = (self.low + 2 * FULL) * self.shape.buffers
            yield Item("positions of three networks", _at(_AFTER_PROMPTS, positions))
        yield Item("text encoders", {"prompts": sum(self._text_encoders())})

    def _network(self, size: int) -> int:
        """Bytes of one process's part of a transformer with elements of ``size`` bytes."""
        if not self.away:
            return size * self.transformer
        # Pinned memory comes in powers of two.
        weights = [
            (linear.inputs * linear.outputs, self._rows(linear.outputs) * linear.inputs)
            for linear in self.shape.linears()
        ]
        rest = self._rows(self.shape.parameters - sum(whole for whole, _ in weights))
        return size * rest + sum(_power_of_two(size * part) for _, part in weights)

    def _text_encoders(self) -> Iterator[int]:
        for name in ("text_encoder", "text_encoder_2"):
            if name in self.parts:
                yield self.low * clip_parameters(self.parts[name])
        if "text_encoder_3" not in self.parts or self.options.t5 == "none":
            return
        config = self.parts["text_encoder_3"]
        total = t5_parameters(config)
        words = config.get("vocab_size", 32128) * config.get("d_model", 512)
        # Only linear layers are put in 8 bits.
        rest = 1 if self.options.t5 == "8bit" else self.low
        yield self.low * words + rest * (total - words)

    def policies(self) -> Iterator[Item]:
        """What belongs to the trained weights, each the size of them."""
        weights = self._network(FULL) if self.full else FULL * self.trained
        yield Item("trained weights", _at(_AFTER_PROMPTS, weights), self.away)
        yield Item("old policy", _at(_AFTER_PROMPTS, weights), self.away)
        away = self.away or self.recipe.training.ema_on_cpu
        yield Item("moving average", _at(_AFTER_PROMPTS, FULL * self.held), away)
        optimizer = self.recipe.training.optimizer
        state = 2 * (FULL if optimizer == "adamw" else 1) * self.held
        yield Item(f"optimizer state ({optimizer})", _at(_AFTER_PROMPTS, state), self.away)

    def rewards(self, rewards: Mapping[str, RewardWeights]) -> Iterator[Item]:
        """Weights of those that score on the device; offloaded ones come for the sampling."""
        resident = sum(r.bytes or 0 for r in rewards.values() if not r.offloaded)
        visiting = sum(r.bytes or 0 for r in rewards.values() if r.offloaded)
        there = {**_at(_TRAINED, resident), **_at(_SAMPLED, resident + visiting)}
        yield Item("rewards' weights", there)

    def prompts(self) -> Iterator[Item]:
        """One batch of prompts on its way through the largest text encoder."""
        t5 = {} if self.options.t5 == "none" else self.parts.get("text_encoder_3", {})
        length = self.options.max_sequence_length if t5 else _CLIP_TOKENS
        config = t5 or self.parts.get("text_encoder_2", {})
        inner = config.get("d_ff", config.get("intermediate_size", 2048))
        width = config.get("d_model", config.get("hidden_size", 512))
        moment = EMBEDDED_PROMPTS * length * self.low * (3 * inner + 4 * width)
        yield Item("a batch of prompts", {"prompts": moment})

    def sampling(self) -> Iterator[Item]:
        """The batch that is sampled and decoded; what was sampled before stays as latents."""
        batch = min(self.recipe.sampling.batch_size, self.images)
        width = self.shape.width
        one = _PASS * (self.tokens.image + self.tokens.context) * width * self.low
        latents = FULL * self.shape.channels * self.side**2
        # Four of them: the noise, the velocity, and what the solver remembers.
        pass_bytes = batch * (one + 4 * latents + self._conditioning())
        # Adapters, but not a frozen copy of all weights, are cast for the length of a pass.
        copies = 0 if self.full else self._copies()
        yield Item(f"sampling {batch} images at a time", {"sampling": pass_bytes + copies})
        images = 2 * FULL * batch * 3 * int(self.recipe.sampling.resolution) ** 2
        label, decode = self._decoding(batch)
        yield Item(label, {"decoding": decode + images})
        yield Item("the step's latents", _at(_AFTER_PROMPTS, self.images * latents))
        yield Item("the step's prompts", _at(_TRAINED, self.images * self._conditioning()))

    def _conditioning(self) -> int:
        pooled = self.shape.pooled_width
        return self.low * (self.tokens.context * self.shape.context_width + pooled)

    def _decoding(self, batch: int) -> tuple[str, int]:
        """What is decoded at a time, and its bytes."""
        factor = downsampling(self.parts["vae"])
        tile = TILE // factor if self.model.vae_tiling else None
        if tile is None or self.side <= tile:
            decoded = min(batch, images_decoded(self.side**2, tile))
            return f"decoding {decoded} images at a time", decoded * self._decode_peak(self.side)
        starts = range(0, self.side, int(_TILE_STEP * tile))
        across = sum(min(tile, self.side - start) for start in starts)
        # Those decoded before the last whole one, in the rows above it and in its own.
        before = sum(start + tile <= self.side for start in starts) - 1
        waiting = self.low * 3 * factor**2 * tile * before * (across + tile)
        label = f"decoding a tile of {TILE} pixels at a time"
        return label, self._decode_peak(tile) + waiting

    def _decode_peak(self, side: int) -> int:
        """Of one image: the widest place of the decoder, where three or more tensors meet."""
        widths = self.parts["vae"].get("block_out_channels", [64])[::-1]
        before, most = widths[0], 0
        for index, width in enumerate(widths):
            places = (side * 2**index) ** 2
            most = max(most, places * max(3 * before, 3 * width, before + 4 * width))
            if index < len(widths) - 1:
                # Enlarged fourfold, and then its convolution.
                most = max(most, places * width * 9)
            before = width
        return int(self.low * most)

    def gradients(self) -> Iterator[Item]:
        """One micro-batch, the accumulators of all, and what the update copies."""
        size = FULL * self.held
        held = sum(self._accumulators())
        yield Item(f"gradient accumulators ({held})", _at(_TRAINED, held * size), self.away)
        if self.recipe.measure.fresh_every:
            fresh = 3 * len(self.recipe.rewards) + 1
            label = f"those of fresh images ({fresh})"
            yield Item(label, _at(_TRAINED, fresh * size), self.away)
        images = micro_batch_images(self.recipe)
        count = self.activations()
        yield Item(f"activations, micro-batch of {images}", {"gradients": images * count.saved})
        moment = images * (count.recomputed + self._backward_pass())
        yield Item("a pass over it", {"gradients": max(moment, self._copies())})
        yield Item("the update's copies", {"update": _UPDATE_COPIES * size}, self.away)

    def _backward_pass(self) -> int:
        """What the backward pass of a row holds besides, where it holds the most."""
        again = self.model.gradient_checkpointing
        width = (self.tokens.image + self.tokens.context) * self.shape.width * self.low
        widths, beside = (
            (_RECOMPUTED_PASS, _RECOMPUTED_BESIDE_PRODUCTS) if again else (_PASS, _BESIDE_PRODUCTS)
        )
        return max(widths * width, beside * width + self._product())

    def _product(self) -> int:
        """A row's gradient of the largest layer with several tokens a row; adapters are small."""
        if not self.full or self.recipe.training.gradients == "backward":
            return 0
        largest = max(
            linear.inputs * linear.outputs
            for linear in self.shape.linears()
            if linear.stream != "vector"
        )
        # As it is found, and in the accumulators' precision.
        return (self.low + FULL) * largest if self.low != FULL else FULL * largest

    def _copies(self) -> int:
        """Of the float32 weights, which autocast keeps for the length of a forward pass."""
        if self.low == FULL:
            return 0
        # Of divided weights only a plain backward pass keeps them, and not with checkpointing.
        kept = not self.sharded or (
            self.recipe.balance.refresh_every > 1 and not self.model.gradient_checkpointing
        )
        return self.low * self.trained if kept else 0

    def whole_weights(self) -> Iterator[Item]:
        """Of divided networks, what is whole for a moment."""
        if not self.sharded:
            return
        block = max(
            sum(linear.parameters for linear in self.shape.block_linears(layer))
            for layer in range(self.shape.layers)
        )
        moment = _WHOLE_BLOCKS * FULL * block
        yield Item(
            f"whole weights of {_WHOLE_BLOCKS} blocks", {"sampling": moment, "gradients": moment}
        )
        yield Item("gradients sent at a time", {"gradients": _SENT_AT_ONCE})

    def _accumulators(self) -> Iterator[int]:
        """Sets of gradients: of the regulariser, and K for every part that is kept apart."""
        recipe = self.recipe
        rewards = len(recipe.rewards)
        yield 1
        if recipe.training.gradients == "backward" or not recipe.measure.parts:
            yield rewards
            return
        yield 3 * rewards
        if recipe.measure.slices_every:
            yield (len(recipe.prompts) + _NOISE_THIRDS) * rewards

    def activations(self, *, turned: bool = False) -> ActivationCount:
        """Of one row."""
        model = self.model
        if turned:
            change = {"gradient_checkpointing": not model.gradient_checkpointing}
            model = model.model_copy(update=change)
        return count_activations(self.shape, model, self.tokens)


def _at(phases: tuple[Phase, ...], count: int) -> dict[Phase, int]:
    return dict.fromkeys(phases, count)


def _power_of_two(count: int) -> int:
    """The first that is no less."""
    return 1 << (count - 1).bit_length()
