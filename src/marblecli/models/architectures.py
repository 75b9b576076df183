"""The configurations of the recipe's model, whatever its family and wherever they are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from marblecli.errors import BadInputError, did_you_mean, one_of
from marblecli.models.configurations import (
    INDEX,
    Architecture,
    Config,
    Source,
    UnreadableConfigError,
    folder_source,
    hub_source,
    shipped_parts,
)
from marblecli.models.registry import family_of_index, shipped_models, shipping_family
from marblecli.settings import ModelSettings

__all__ = [
    "Architecture",
    "Config",
    "UnreadableConfigError",
    "find_architecture",
    "folder_architecture",
    "hub_architecture",
    "is_folder",
    "shipped_architecture",
]


def find_architecture(model: ModelSettings) -> Architecture:
    """The configurations of the recipe's model: local, shipped or, for other hub ids, the hub's.

    Raises:
        UnreadableConfigError: one can't be read; the message says which and why.
        BadInputError: they are of no family that is known, or the model is to be random and no
            configuration of it is at hand.

    """
    if is_folder(model):
        return folder_architecture(Path(model.pretrained))
    if model.pretrained in shipped_models() or model.random_weights:
        return shipped_architecture(model.pretrained)
    return hub_architecture(model.pretrained, model.revision)


def is_folder(model: ModelSettings) -> bool:
    """Whether the model is local: a recipe's paths are absolute once it has been read."""
    return Path(model.pretrained).is_absolute()


def shipped_architecture(hub_id: str) -> Architecture:
    """A model whose configurations are shipped, without the hub.

    Raises BadInputError, which names those that are.
    """
    family = shipping_family(hub_id)
    if family is None:
        choices = shipped_models()
        raise BadInputError(
            f"no configuration of {hub_id!r} is shipped{did_you_mean(hub_id, choices)}; random "
            f"weights need a folder in diffusers' layout or one of {one_of(choices)}"
        )
    spec = family.spec
    parts = shipped_parts(spec.package, spec.shipped[hub_id], spec.parts)
    return Architecture(hub_id, {}, parts)


def folder_architecture(folder: Path) -> Architecture:
    """A folder in diffusers' layout. Raises UnreadableConfigError, or BadInputError as above."""
    return _read(folder_source(folder))


def hub_architecture(hub_id: str, revision: str | None = None) -> Architecture:
    """A hub repository; the hub is asked once a command, whatever it answers.

    Raises UnreadableConfigError if the hub can't be reached or refuses.
    """
    found = _hub_answer(hub_id, revision)
    if isinstance(found, UnreadableConfigError):
        raise found
    return found


@cache
def _hub_answer(hub_id: str, revision: str | None) -> Architecture | UnreadableConfigError:
    try:
        return _read(hub_source(hub_id, revision))
    except UnreadableConfigError as error:
        return error


def forget_hub_answers() -> None:
    """Ask the hub again the next time."""
    _hub_answer.cache_clear()


def _read(source: Source) -> Architecture:
    index = source.config(INDEX)
    family = family_of_index(source.name, index)
    return source.architecture(index, family.spec.parts)
