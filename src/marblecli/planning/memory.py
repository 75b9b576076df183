"""The device memory that a recipe takes, before a weight is loaded.

What lives when follows the run: the prompts are encoded with the text encoders beside the VAE; the
transformer takes their place, and the old policy samples a batch; the VAE decodes and the rewards
score it; gradients of one micro-batch after another go into the accumulators; the update holds them
beside the step's own copies. The largest of the five is the peak.

What lives long is counted from the networks on the meta device. What a pass holds is measured by
running it on fake tensors (:mod:`marblecli.planning.simulation`). With ``model.shard``, what has
the size of the weights is shared by the processes. With ``model.offload`` the same is in the CPU's
memory. Assumed: a gigabyte for CUDA's context, its libraries' workspaces and what the allocator
leaves unused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from marblecli.methods.host import find_method
from marblecli.models.at_once import TILE, images_decoded
from marblecli.planning.micro_step import gradient_case
from marblecli.planning.plan import (
    GIB,
    PHASES,
    Item,
    MemoryPlan,
    Phase,
    RewardWeights,
    images_of_a_step,
    micro_batch_images,
)
from marblecli.planning.simulation import Simulation
from marblecli.planning.weights import FULL, bytes_in_8_bits, bytes_of
from marblecli.settings import Recipe
from marblecli.train.levels import BINS

_SAMPLED: tuple[Phase, ...] = ("sampling", "decoding")
_TRAINED: tuple[Phase, ...] = ("gradients", "update")
_AFTER_PROMPTS = _SAMPLED + _TRAINED
_CUDA = GIB
_NOISE_THIRDS = 3
_SOLVER_LATENTS = 4
"""The noise, the velocity, and what the solver remembers of the step before."""
_UPDATE_COPIES = 2
"""Of the trained weights: the gradient, and the weights before, which become their change."""


def count_memory(
    recipe: Recipe,
    simulation: Simulation,
    rewards: Mapping[str, RewardWeights],
    processes: int = 1,
) -> MemoryPlan:
    """The plan of one process that has the whole batch. ``rewards`` are those on its device.

    A micro-batch size of ``auto`` is counted as one image. ``processes`` are those that share the
    weights, if the recipe says so.
    """
    counter = _Counter(recipe, simulation, processes)
    items = [
        *counter.weights(),
        *counter.policies(),
        *counter.rewards(rewards),
        *counter.sampling(),
        *counter.gradients(),
    ]
    if simulation.device == "cuda":
        items.append(Item("CUDA's own (assumed)", dict.fromkeys(PHASES, _CUDA)))
    unknown = tuple(name for name, weights in rewards.items() if weights.bytes is None)
    return MemoryPlan(
        items=tuple(item for item in items if any(item.bytes.values())),
        trained=counter.trained,
        row=counter.row(),
        row_otherwise=counter.row(turned=True),
        unknown_rewards=unknown,
    )


def accumulated_sets(recipe: Recipe) -> int:
    """How many gradients of the trained weights a step accumulates.

    One is the regulariser's. Each reward has one, or three in parts (the signal of both halves of
    the batch, and the pull), and one more for each slice of the batch.
    """
    rewards = len(recipe.rewards)
    if recipe.training.gradients == "backward" or not recipe.measure.parts:
        return 1 + rewards
    ranges = BINS if recipe.training.levels.draw == "signal" else _NOISE_THIRDS
    slices = len(recipe.prompts) + ranges if recipe.measure.slices_every else 0
    return 1 + (3 + slices) * rewards


def remembers_gradients(recipe: Recipe) -> bool:
    """Whether one of the recipe's methods needs a memory of one gradient for each reward."""
    balance = recipe.balance
    names = (*(each.method for each in balance.phases), balance.method)
    return any(find_method(name).needs.signal for name in names)


class _Counter:
    def __init__(self, recipe: Recipe, simulation: Simulation, processes: int) -> None:
        self.recipe = recipe
        self.model = recipe.model
        self.simulation = simulation
        self.network = simulation.network
        self.low = FULL if self.model.dtype == "fp32" else 2
        self.full = self.model.mode == "full"
        self.away = self.full and self.model.offload
        self.processes = processes if self.full and self.model.sharded else 1
        resolution = recipe.sampling.resolution
        self.case = simulation.case(self.model, resolution, self.processes)
        self.passes = gradient_case(recipe)
        self.trained = simulation.trained(self.case)
        self.held = self.network.rows(self.processes) if self.full else self.trained
        self.latent = simulation.subject.latent_shape(resolution)
        self.images = images_of_a_step(recipe)

    def weights(self) -> Iterator[Item]:
        """The VAE, the text encoders, and the transformer as far as it is frozen."""
        subject = self.simulation.subject
        yield Item("VAE", dict.fromkeys(PHASES, bytes_of(subject.vae, self.low)))
        frozen = "reference policy (frozen)" if self.full else "transformer (frozen)"
        yield Item(frozen, _at(_AFTER_PROMPTS, self._network(self.low)), self.away)
        if self.away:
            buffers = (self.low + 2 * FULL) * self.network.buffers
            yield Item("buffers of three networks", _at(_AFTER_PROMPTS, buffers))
        small = subject.in_8_bits(self.model)
        encoders = sum(
            bytes_in_8_bits(part, self.low) if name in small else bytes_of(part, self.low)
            for name, part in subject.encoders(self.model).items()
        )
        yield Item("text encoders", {"prompts": encoders})
        yield Item("a batch of prompts", {"prompts": self.simulation.encoding(self.model)})

    def _network(self, size: int) -> int:
        """Bytes of one process's part of a network with elements of ``size`` bytes."""
        if self.away:
            return self.network.pinned(size, self.processes)
        return size * (self.network.rows(self.processes) + self.network.buffers)

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

    def sampling(self) -> Iterator[Item]:
        """The batch that is sampled and decoded; what was sampled before stays as latents."""
        sampling = self.recipe.sampling
        batch = min(sampling.batch_size, self.images)
        latents = FULL * math.prod(self.latent)
        own = batch * (_SOLVER_LATENTS * latents + self._conditioning())
        one_pass = self.simulation.sampling(self.case).peak(batch)
        yield Item(f"sampling {batch} images at a time", {"sampling": own + one_pass})
        decoded = self.simulation.decoding(self.model, sampling.resolution, batch)
        yield Item(self._decoding(batch), {"decoding": decoded})
        yield Item("the step's latents", _at(_AFTER_PROMPTS, self.images * latents))
        yield Item("the step's prompts", _at(_TRAINED, self.images * self._conditioning()))
        others = self.images - micro_batch_images(self.recipe)
        yield Item("noise of the other micro-batches", {"gradients": others * latents})

    def _conditioning(self) -> int:
        shapes = self.simulation.subject.conditioning_shapes(self.model)
        return self.low * sum(math.prod(shape) for shape in shapes.values())

    def _decoding(self, batch: int) -> str:
        """What is decoded at a time."""
        side, places = self.recipe.sampling.resolution, math.prod(self.latent[1:])
        if self.model.vae_tiling and side > TILE:
            return f"decoding a tile of {TILE} pixels at a time"
        tile = TILE * self.latent[1] // side if self.model.vae_tiling else None
        return f"decoding {min(batch, images_decoded(places, tile))} images at a time"

    def gradients(self) -> Iterator[Item]:
        """One micro-batch, the accumulators of all, and what the update copies."""
        size = FULL * self.held
        sets = accumulated_sets(self.recipe)
        label = f"gradient accumulators ({sets})"
        yield Item(label, _at(_TRAINED, sets * size), self.away)
        if remembers_gradients(self.recipe):
            label = f"gradient memory ({len(self.recipe.rewards)})"
            memory = _at(_AFTER_PROMPTS, len(self.recipe.rewards) * size)
            yield Item(label, memory, self.away)
        if self.recipe.measure.fresh_every:
            fresh = 3 * len(self.recipe.rewards) + 1
            label = f"those of fresh images ({fresh})"
            yield Item(label, _at(_TRAINED, fresh * size), self.away)
        images = micro_batch_images(self.recipe)
        step = self.simulation.micro_step(self.case, self.passes)
        kept = images * step.row
        yield Item(f"activations, micro-batch of {images}", {"gradients": kept})
        beside = step.peak(images, 0 if self.away else sets * size) - kept
        gathered = ", with the weights that it gathers" if self.case.sharded else ""
        yield Item(f"a pass over it{gathered}", {"gradients": max(0, beside)})
        yield Item("the update's copies", {"update": _UPDATE_COPIES * size}, self.away)

    def row(self, *, turned: bool = False) -> int:
        """Bytes that an image at one noise level keeps for its backward passes."""
        checkpointing = self.model.gradient_checkpointing != turned
        return self.simulation.row(self.case, self.passes, checkpointing=checkpointing)


def _at(phases: tuple[Phase, ...], count: int) -> dict[Phase, int]:
    return dict.fromkeys(phases, count)
