"""The seam between the program and a model family: all that the program ever asks of one.

Nothing outside ``models/<family>/`` knows a family by name, by class or by the names of its layers.
What can be said of a family before a weight is loaded needs no torch; torch and diffusers are
imported inside the methods that need them.

Between the family and the rest of the program

* latents are [B, C, h, w], noise has variance 1, and x_t = (1 - t) x_0 + t noise for a noise level
  t in (0, 1). A family whose network wants packed tokens (FLUX.1, Qwen-Image) packs and unpacks
  within :meth:`Family.velocity`; one whose VAE has a time axis (Qwen-Image) adds and drops it
  within :meth:`FrozenParts.decode`;
* the velocity is d x_t / d t = noise - x_0, in the shape of x_t;
* the conditioning of a prompt is a set of named tensors
  (:class:`~marblecli.models.conditioning.Conditioning`).

What a new family has to give
=============================

In a folder ``models/<family>/``, with its object added to ``FAMILIES`` in
:mod:`marblecli.models.registry`:

1. A :class:`FamilySpec`: the classes that its configurations name, the files of its parts, the
   published models whose configurations it ships, an option schema for what ``[model]`` may set
   besides the program's own keys, and where adapters go.
2. What its configurations allow: :meth:`Family.limits`, and :meth:`Family.refusal` for models of
   its classes that can't be trained (a distilled one, whose few steps training would undo).
3. Shapes: :meth:`Family.latent_shape`, and :meth:`Family.conditioning_shapes` of one prompt. The
   plan of the memory makes its inputs from them.
4. :meth:`Family.build`: each part from its configuration alone, for random weights, for the meta
   device and for fake tensors.
5. :meth:`Family.load`: the network that trains, and its :class:`FrozenParts`.
6. :meth:`Family.velocity`: one evaluation of the network. Position ids that are the same for every
   image are made here from the shapes. What differs between images, or comes from an option (the
   guidance scale that FLUX.1 embeds), is a tensor of the conditioning with B first.
7. :meth:`Family.blocks`: the repeated blocks, which are sharded, compiled and checkpointed one by
   one. Blocks of several kinds (FLUX.1's double-stream and single-stream blocks) stand in the order
   in which they run. A block returns a tuple of tensors, and the next one is given these very
   tensors: the checkpointed backward pass follows them from block to block. What else a block takes
   either carries no gradient (rotary embeddings) or is made before the first block (the embedding
   of the noise level). :meth:`Family.checkpoint_blocks`, if the network isn't a diffusers model.

The text encoder of a prompt may give any number of tokens: :meth:`FrozenParts.encode` pads to a
length that doesn't depend on the prompt, and gives a mask as a tensor of its own (Qwen-Image), so
that prompts can be stacked. Every parameter must belong to a layer that is called with one tensor,
whose B samples stand first (B may be multiplied out with what follows): the contracted backward
pass (:mod:`marblecli.train.gradients.contraction`) sums gradients layer by layer, sample by sample.

Then a folder ``tests/models/<family>/`` with a tiny model of the real classes, which must go
through what ``tests/models/test_family.py`` asks of its made-up family.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from marblecli.errors import BadInputError
from marblecli.models.configurations import Architecture, Config, UnreadableConfigError
from marblecli.models.licence import UNKNOWN, Licence
from marblecli.models.limits import Limits
from marblecli.models.native import NativeLayer
from marblecli.plugins import NoOptions
from marblecli.settings import ModelSettings

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    from marblecli.models.conditioning import Conditioning


class FamilyOptions(NoOptions):
    """Base of a family's option schema: keys of ``[model]`` that only this family knows."""


@dataclass(frozen=True)
class AdapterRules:
    """Where adapters go in a family's network."""

    targets: tuple[str, ...]
    """Layers that are adapted if the recipe names none: the ends of their dotted names."""
    outside: str
    """Regular expression of the linear layers that ``all-linear`` leaves out, by dotted name."""
    export_prefix: str
    """What diffusers puts before a layer's name in the keys of an adapter file, with its dot. It is
    all that an export has to know of the family to write diffusers' layout."""


@dataclass(frozen=True)
class FamilySpec:
    """What can be said of a family without looking at a model."""

    name: str
    """Its folder's name."""
    title: str
    """As a user calls it."""
    example: str
    """The hub id of a model to recommend."""
    called: re.Pattern[str]
    """Found in the names of its models, so that they aren't taken for another family's."""
    classes: Mapping[str, str]
    """By part, and for the pipeline by :data:`~marblecli.models.configurations.INDEX`: the class
    that its configuration must name."""
    parts: Mapping[str, str]
    """Parts that have a configuration, and its file in diffusers' layout. The network that trains
    is the part ``transformer``."""
    encoders: tuple[str, ...]
    """Those of the parts that are text encoders."""
    may_lack: frozenset[str]
    """The text encoders that a model, or a run, can do without."""
    package: str
    """Where the shipped configurations are: ``PART.json`` in a folder a model, or in ``common``."""
    shipped: Mapping[str, str]
    """Hub ids whose configuration is shipped -> the folder."""
    options: type[FamilyOptions]
    """The schema of its keys of ``[model]``."""
    adapters: AdapterRules
    savings: tuple[tuple[str, object], ...]
    """(option, value) that take less memory, the mildest first: what the plan may advise."""


class Solver(Protocol):
    """An ODE solver on its way along one trajectory."""

    levels: Tensor
    """float32 [steps + 1] on the CPU: the noise levels from the first to the last, which is 0."""

    def step(self, velocity: Tensor, latents: Tensor) -> Tensor:
        """From [B, C, h, w] at one level, and the velocity there, to those at the next level."""


class FrozenParts(ABC):
    """The parts of a loaded model that never train."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where images are sampled and decoded."""

    @abstractmethod
    def to(self, device: torch.device) -> None:
        """Move there what decodes images. Text encoders stay where they are."""

    @abstractmethod
    def encoders(self) -> Sequence[nn.Module]:
        """The text encoders; none if the model was loaded without."""

    @abstractmethod
    def encode(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of B texts. The text encoders must be on :attr:`device`."""

    @abstractmethod
    def latent_shape(self, height: int, width: int) -> tuple[int, int, int]:
        """[C, h, w] of the latents of one image of that many pixels."""

    @abstractmethod
    def solver(self, steps: int, shape: Sequence[int]) -> Solver:
        """A solver of ``steps`` evaluations of the network, for latents [C, h, w] of that shape."""

    @abstractmethod
    def decode(self, latents: Tensor) -> Tensor:
        """[B, C, h, w] -> float32 images [B, 3, H, W] in [0, 1], of any B."""


@dataclass(frozen=True)
class LoadedParts:
    """A model whose weights are loaded; nothing of it is on a device yet."""

    network: nn.Module
    """The network that trains."""
    frozen: FrozenParts


@dataclass(frozen=True)
class LoadRequest:
    """Which model is to be loaded, and how much of it."""

    model: ModelSettings
    architecture: Architecture | UnreadableConfigError
    """Its configurations, or why they couldn't be read; random weights need them."""
    seed: int = 0
    """Of random weights."""
    encoders: bool = True
    """Whether the text encoders are wanted; without them nothing can be encoded."""
    empty: bool = False
    """Build the parts from the configurations alone, with weights that nothing is said of, in the
    recipe's dtype: for the plan of the memory, which loads within ``FakeTensorMode``. Such a model
    has no solver. The architecture must be known."""


class Family(ABC):
    """A model family. It holds nothing: what it knows comes with its arguments."""

    spec: FamilySpec

    @abstractmethod
    def limits(self, architecture: Architecture, model: ModelSettings) -> Limits:
        """What the model's configurations allow."""

    def refusal(self, architecture: Architecture) -> str | None:  # noqa: ARG002, for families
        """Why a model of this family can't be trained, where its configurations show it."""
        return None

    def encoders(self, architecture: Architecture, model: ModelSettings) -> tuple[str, ...]:  # noqa: ARG002
        """The text encoders that the recipe's run uses, by part."""
        return tuple(part for part in self.spec.encoders if part in architecture.parts)

    def in_8_bits(self, model: ModelSettings) -> frozenset[str]:  # noqa: ARG002, for families
        """The text encoders whose linear layers a run keeps in 8 bits, by part."""
        return frozenset()

    @abstractmethod
    def describe(self, architecture: Architecture) -> str:
        """The network's sizes in a few words: ``24 layers of width 1536``."""

    @abstractmethod
    def latent_shape(
        self, architecture: Architecture, height: int, width: int
    ) -> tuple[int, int, int]:
        """[C, h, w] of the latents of one image of that many pixels."""

    @abstractmethod
    def conditioning_shapes(
        self, architecture: Architecture, model: ModelSettings
    ) -> dict[str, tuple[int, ...]]:
        """The shapes of the named tensors of one prompt, without the B."""

    def native_layers(self, config: Config) -> Mapping[str, NativeLayer]:  # noqa: ARG002, for families
        """Where the network's layers are in the published one, by name: what other tools run.

        ``config`` is that of the part ``transformer``. A family without such a map can't be
        exported to those tools, nor can their adapters be read.
        """
        return {}

    @abstractmethod
    def build(self, part: str, config: Config) -> nn.Module:
        """One part from its configuration, with the weights that its class gives it."""

    @abstractmethod
    def load(self, request: LoadRequest) -> LoadedParts:
        """Load the model in the recipe's dtype; nothing is moved to a device.

        Raises:
            BadInputError: something that the recipe asks for isn't installed, or can't be had.
            MarbleError: the model's files can't be read or fetched.

        """

    def licence(self, pretrained: str) -> Licence:  # noqa: ARG002, for families
        """The licence of a model of the family, by its hub id or folder."""
        return UNKNOWN

    def pipeline(self, request: LoadRequest) -> Any:  # noqa: ARG002, for families
        """The whole model as diffusers' pipeline, with all its parts, to be saved as a folder.

        Its network is the attribute ``transformer``. It raises what :meth:`load` raises, and
        BadInputError for a model, or a family, that can't be saved so.
        """
        raise BadInputError(f"{self.spec.title} can't be saved as a pipeline folder")

    @abstractmethod
    def velocity(
        self, network: nn.Module, noised: Tensor, noise_level: Tensor, conditioning: Conditioning
    ) -> Tensor:
        """The network's velocity [B, C, h, w] of x_t [B, C, h, w] at the levels t [B].

        It is called under the recipe's autocast, and may return another dtype than that of x_t.
        """

    @abstractmethod
    def blocks(self, network: nn.Module) -> Sequence[nn.Module]:
        """The repeated blocks in the order in which they run."""

    def checkpoint_blocks(self, network: nn.Module, run: Callable[..., Any]) -> None:
        """From now on have the network call ``run(block, *inputs)`` where it would run a block.

        This is for diffusers' models; ``run`` returns what the block would.
        """
        network.enable_gradient_checkpointing(run)  # type: ignore[operator] # diffusers' method
