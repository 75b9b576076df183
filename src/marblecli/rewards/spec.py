"""The contract between marble and a reward plugin, all of it.

A plugin is a package with the entry point ::

    [project.entry-points.marble]
    my-rewards = "my_package.plugin"

and, in that module, ::

    from marblecli.rewards import RewardSpec, hookimpl

    @hookimpl
    def marble_register_rewards(register):
        register(RewardSpec(name="brightness", summary="Mean of all pixels.", build=build))

``build(options, device)`` is called only when a run needs the reward: load weights there, not on
import. It returns the scorer, a callable from :class:`RewardBatch` to one number for each image.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from numpy.typing import ArrayLike
from pydantic import BaseModel

from marblecli.plugins import ENTRY_POINT_GROUP, NoOptions, hookimpl
from marblecli.types import Prompt

ImageLayout = Literal["uint8", "float", "pil"]
"""How a reward wants its images: ``uint8`` is a NumPy array [B, H, W, 3]; ``float`` a torch
float32 tensor [B, 3, H, W] in [0, 1]; ``pil`` a list of B RGB images."""


@dataclass(frozen=True)
class RewardBatch:
    """B images to score, and their prompts."""

    images: Any
    """B images in the layout that the reward declared."""
    prompts: Sequence[str]
    metadata: Sequence[Mapping[str, Any]]
    """B mappings; each holds at least the fields that the reward declared."""


class Scorer(Protocol):
    """A loaded reward. It is called from a worker thread, one call at a time."""

    def __call__(self, batch: RewardBatch) -> ArrayLike:
        """Return B finite numbers; higher is better.

        The number of an image must not depend on the other images of its batch. An exception and
        values that aren't finite are faults: they are reported and counted, and the images are
        masked. If an image can't be judged and that is no fault, mask its element by ``numpy.ma``.
        """


@runtime_checkable
class MovableScorer(Scorer, Protocol):
    """A scorer whose weights can be moved, so that it can be offloaded while it doesn't score."""

    def to(self, device: str, /) -> None:
        """Move the weights to ``device``, where the next call scores."""


class Build(Protocol):
    """Loads the scorer on ``device``. ``options`` is an instance of the declared model."""

    def __call__(self, options: Any, device: str, /) -> Scorer: ...


@dataclass(frozen=True)
class HubFiles:
    """Files of one hub repository at one revision, fetched together."""

    repo: str
    """``owner/name``."""
    revision: str
    """A commit hash, so that scores stay the same."""
    patterns: tuple[str, ...]
    """Globs of the files that are needed, safetensors where they exist."""


def _always(_prompt: Prompt, /) -> bool:
    return True


def _no_files(_options: Any, /) -> tuple[HubFiles, ...]:
    return ()


@dataclass(frozen=True)
class RewardSpec:
    """A reward as a plugin declares it. Listing, checking and planning need no more than this."""

    name: str
    """What users type in ``[rewards.NAME]``; letters, digits and dashes."""
    summary: str
    """One line for ``marble rewards list``."""
    build: Build
    options: type[BaseModel] = NoOptions
    """The schema of the reward's own keys in the recipe; it should forbid extra keys."""
    images: ImageLayout = "uint8"
    metadata: tuple[str, ...] = ()
    """Fields that a prompt must carry for the reward to apply to it."""
    optional_metadata: tuple[str, ...] = ()
    """Fields that the reward reads if a prompt carries them; ``("*",)`` stands for any."""
    condition: Callable[[Prompt], bool] = _always
    """What a prompt must fulfil besides, such as a quoted text in it."""
    range: tuple[float, float] = (0.0, 1.0)
    """The lowest and the highest score that the reward can give."""
    files: Callable[[Any], tuple[HubFiles, ...]] = _no_files
    """The files that ``build`` reads from the hub with given options. ``marble rewards download``
    fetches them in advance."""
    examples: tuple[Prompt, ...] = ()
    """Prompts that the reward applies to, for the contract kit; required if it needs metadata."""

    @property
    def conditional(self) -> bool:
        """Whether the reward has a condition besides its metadata."""
        return self.condition is not _always

    def applies(self, prompt: Prompt, sources: tuple[str, ...] | None) -> bool:
        """Whether the prompt has the metadata, meets the condition, and is from one of ``sources``.

        ``sources`` None stands for all.
        """
        here = sources is None or prompt.source in sources
        carries = all(field in prompt.metadata for field in self.metadata)
        return here and carries and self.condition(prompt)


Register = Callable[[RewardSpec], None]

__all__ = [
    "ENTRY_POINT_GROUP",
    "Build",
    "HubFiles",
    "ImageLayout",
    "MovableScorer",
    "NoOptions",
    "Register",
    "RewardBatch",
    "RewardSpec",
    "Scorer",
    "hookimpl",
]
