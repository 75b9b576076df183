"""Which models can be trained: by their configurations, and by their name where that says more.

SD3 Medium, SD3.5 Medium and SD3.5 Large need no name: whatever their sizes, the classes tell. A
distilled model has the classes and sizes of the one it was made from (SD3.5 Large Turbo is SD3.5
Large in every figure of its configuration), so it is told by what it is called: its hub id or
folder, and the ``_name_or_path`` that diffusers leaves in configurations; or by a sampler made for
few steps. A copy without any of these can't be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from marblecli.errors import BadInputError
from marblecli.models.architectures import find_architecture, is_folder
from marblecli.models.configurations import (
    INDEX,
    Architecture,
    UnreadableConfigError,
    folder_source,
)
from marblecli.models.family import Family
from marblecli.models.registry import (
    default_family,
    examples,
    family_by_name,
    family_of,
    family_of_index,
    titles,
)
from marblecli.settings import ModelSettings

_DISTILLED = re.compile(r"turbo|lightning|schnell|distill|flash|(?<![a-z])lcm(?![a-z])", re.I)
_OTHER_FAMILY = re.compile(
    r"flux|sdxl|stable-diffusion-|pixart|sana|hunyuan|qwen|kandinsky|auraflow|lumina|cogview", re.I
)
_WHY_NOT_DISTILLED = (
    "the flow-matching loss would take its few steps away; use the model that it was made from"
)


@dataclass(frozen=True)
class Examined:
    """A model that may be trained, as far as can be known before its weights load."""

    family: Family
    architecture: Architecture | UnreadableConfigError
    """Its configurations, or why they can't be read, which is no fault by itself; then the family
    is a guess by the model's name."""


def examine_model(model: ModelSettings) -> Examined:
    """The model's family and configurations.

    Raises BadInputError, with the reason, for what is known not to be trainable, and for a random
    model without configurations.
    """
    check_name(model.pretrained)
    if is_folder(model):
        _check_layout(Path(model.pretrained))
    try:
        architecture = find_architecture(model)
    except UnreadableConfigError as error:
        if model.random_weights:
            raise
        return Examined(family_by_name(model.pretrained) or default_family(), error)
    return Examined(check_configuration(architecture), architecture)


def check_name(name: str) -> None:
    """Refuse a hub id or folder that is called like another family or like a distilled model."""
    own = Path(name).name
    if found := _DISTILLED.search(own):
        raise BadInputError(
            f"{name} is a distilled model by its name ({found.group()!r}): {_WHY_NOT_DISTILLED}"
        )
    known = Path(name).is_absolute() or family_by_name(name) is not None
    if _OTHER_FAMILY.search(own) and not known:
        raise BadInputError(
            f"{name} is no {titles()} by its name; see {examples()}, or give the folder of one"
        )


def _check_layout(folder: Path) -> None:
    """Refuse a folder without the configurations by which a family is recognised."""
    source = folder_source(folder)

    def config(file: str) -> dict[str, object]:
        try:
            found = dict(source.config(file))
        except UnreadableConfigError:
            found = {}
        if "_class_name" not in found:
            raise BadInputError(f"no model in diffusers' layout: {folder} has no readable {file}")
        return found

    index = config(INDEX)
    family = family_of_index(source.name, index)
    files = {part: family.spec.parts[part] for part in family.spec.classes if part != INDEX}
    family_of(Architecture(source.name, index, {part: config(files[part]) for part in files}))


def check_configuration(architecture: Architecture) -> Family:
    """The model's family. Refuse other classes, and what the configurations show to be distilled.

    Raises BadInputError with the reason.
    """
    family = family_of(architecture)
    for sign in _signs_of_distillation(architecture, family):
        raise BadInputError(
            f"{architecture.name} is a distilled model: {sign}; {_WHY_NOT_DISTILLED}"
        )
    if reason := family.refusal(architecture):
        raise BadInputError(reason)
    return family


def _signs_of_distillation(architecture: Architecture, family: Family) -> Iterator[str]:
    for part, config in {INDEX: architecture.index, **architecture.parts}.items():
        source = config.get("_name_or_path")
        if isinstance(source, str) and _DISTILLED.search(source):
            yield f"its {family.spec.parts.get(part, part)} says that it comes from {source}"
    scheduler = architecture.parts.get("scheduler", {})
    if "LCM" in str(scheduler.get("_class_name", "")):
        yield f"its sampler is a {scheduler['_class_name']}"
    if scheduler.get("stochastic_sampling"):
        yield "its sampler draws noise at every step, as for few steps"
