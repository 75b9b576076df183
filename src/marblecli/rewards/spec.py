"""The whole contract between marble and a reward plugin, on one page.

A plugin is a package with the entry point ::

    [project.entry-points.marble]
    my-rewards = "my_package.plugin"

and, in that module, ::

    from marblecli.rewards import RewardSpec, hookimpl

    @hookimpl
    def marble_register_rewards(register):
        register(RewardSpec(name="brightness", summary="Mean of all pixels.", build=build))

``build(options, device)`` is called only when a run needs the reward: load weights there, not on
import. It returns the scorer, a callable from :class:`RewardBatch` to one number an image.
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
    """B images to score, and what was asked for."""

    images: Any
    """B images in the layout that the reward declared."""
    prompts: Sequence[str]
    metadata: Sequence[Mapping[str, Any]]
    """B mappings; each holds at least the fields that the reward declared."""


class Scorer(Protocol):
    """A reward ready to score; called from a worker thread, one call at a time."""

    def __call__(self, batch: RewardBatch) -> ArrayLike:
        """B finite numbers, higher is better, the same for the same image whatever its batch.

        What raises, or isn't finite, is a fault: named, counted, its images masked. An image that
        can't be judged through no fault of the reward is an element masked by ``numpy.ma``.
        """


@runtime_checkable
class MovableScorer(Scorer, Protocol):
    """A scorer with weights; one that can be moved may be offloaded between phases."""

    def to(self, device: str, /) -> None:
        """Move the weights to ``device``; the next call scores there."""


class Build(Protocol):
    """Makes the scorer; the place to load weights. ``options`` is the declared model, validated."""

    def __call__(self, options: Any, device: str, /) -> Scorer: ...


@dataclass(frozen=True)
class HubFiles:
    """Files of one hub repository at one revision, fetched together."""

    repo: str
    """``owner/name``."""
    revision: str
    """A commit hash, so that a score means the same tomorrow."""
    patterns: tuple[str, ...]
    """Globs of the files that are needed, safetensors where they exist."""


def _always(_prompt: Prompt, /) -> bool:
    return True


def _no_files(_options: Any, /) -> tuple[HubFiles, ...]:
    return ()


@dataclass(frozen=True)
class RewardSpec:
    """A reward as a plugin declares it: enough to list, check and plan without loading it."""

    name: str
    """What users type in ``[rewards.NAME]``; letters, digits and dashes."""
    summary: str
    """One line for ``marble rewards list``."""
    build: Build
    options: type[BaseModel] = NoOptions
    """The schema of the recipe's table; forbid extra keys, so that typing errors are found."""
    images: ImageLayout = "uint8"
    metadata: tuple[str, ...] = ()
    """Fields that a prompt must carry for the reward to apply to it."""
    optional_metadata: tuple[str, ...] = ()
    """Fields that it reads where a prompt carries them; ``("*",)`` is any."""
    condition: Callable[[Prompt], bool] = _always
    """What else must hold of a prompt, such as a quoted text in it."""
    range: tuple[float, float] = (0.0, 1.0)
    """Lowest and highest value that it can give."""
    files: Callable[[Any], tuple[HubFiles, ...]] = _no_files
    """What ``build`` will read from the hub, for its options; ``marble rewards download`` fetches
    it ahead."""
    examples: tuple[Prompt, ...] = ()
    """Prompts that it applies to, for the contract kit; needed where it declares metadata."""

    @property
    def conditional(self) -> bool:
        """Whether it has a condition besides its metadata."""
        return self.condition is not _always

    def applies(self, prompt: Prompt, sources: tuple[str, ...] | None) -> bool:
        """Whether the prompt carries the metadata, meets the condition and is of a given source."""
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
