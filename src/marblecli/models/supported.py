"""Which models can be trained: by their configuration, and by their name where that says more.

SD3 Medium, SD3.5 Medium and SD3.5 Large need no name: whatever their sizes, the classes tell. A
distilled model has the classes and sizes of the one it was made from (SD3.5 Large Turbo is SD3.5
Large in every figure of its configuration), so it is told by what it is called: its hub id or
folder, and the ``_name_or_path`` that diffusers leaves in configurations; or by a sampler made for
few steps. A copy without any of these can't be told apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from marblecli.errors import BadInputError
from marblecli.models.architectures import (
    INDEX,
    PARTS,
    Architecture,
    UnreadableConfigError,
    find_architecture,
)
from marblecli.settings import ModelSettings

_CLASSES = {INDEX: "StableDiffusion3Pipeline", "transformer": "SD3Transformer2DModel"}

_DISTILLED = re.compile(r"turbo|lightning|schnell|distill|flash|(?<![a-z])lcm(?![a-z])", re.I)
_SD3 = re.compile(r"sd-?3|stable-diffusion-3", re.I)
_OTHER_FAMILY = re.compile(
    r"flux|sdxl|stable-diffusion-|pixart|sana|hunyuan|qwen|kandinsky|auraflow|lumina|cogview", re.I
)
_WHY_NOT_DISTILLED = (
    "the flow-matching loss would take its few steps away; use the model that it was made from"
)


def examine_model(model: ModelSettings) -> Architecture | UnreadableConfigError:
    """The model's configurations, or why they can't be read, which is no fault by itself.

    Raises BadInputError, with the reason, for what is known not to be trainable, and for a random
    model without configurations.
    """
    check_name(model.pretrained)
    try:
        architecture = find_architecture(model)
    except UnreadableConfigError as error:
        if model.random_weights:
            raise
        return error
    check_configuration(architecture)
    return architecture


def check_name(name: str) -> None:
    """Refuse a hub id or folder that is called like another family or like a distilled model."""
    own = Path(name).name
    if found := _DISTILLED.search(own):
        raise BadInputError(
            f"{name} is a distilled model by its name ({found.group()!r}): {_WHY_NOT_DISTILLED}"
        )
    if not Path(name).is_absolute() and _OTHER_FAMILY.search(own) and not _SD3.search(own):
        raise BadInputError(
            f"{name} is no Stable Diffusion 3 by its name; see stabilityai/stable-diffusion-3.5-"
            "medium, or give the folder of one"
        )


def check_configuration(architecture: Architecture) -> None:
    """Refuse what its configurations show to be another class or a distilled model."""
    configs = {INDEX: architecture.index, **architecture.parts}
    for part, wanted in _CLASSES.items():
        found = configs[part].get("_class_name", wanted)
        if found != wanted:
            raise BadInputError(
                f"no Stable Diffusion 3: {PARTS.get(part, part)} of {architecture.name} names "
                f"{found}, not {wanted}"
            )
    for sign in _signs_of_distillation(architecture):
        raise BadInputError(
            f"{architecture.name} is a distilled model: {sign}; {_WHY_NOT_DISTILLED}"
        )


def _signs_of_distillation(architecture: Architecture) -> Iterator[str]:
    for part, config in {INDEX: architecture.index, **architecture.parts}.items():
        source = config.get("_name_or_path")
        if isinstance(source, str) and _DISTILLED.search(source):
            yield f"its {PARTS.get(part, part)} says that it comes from {source}"
    scheduler = architecture.parts.get("scheduler", {})
    if "LCM" in str(scheduler.get("_class_name", "")):
        yield f"its sampler is a {scheduler['_class_name']}"
    if scheduler.get("stochastic_sampling"):
        yield "its sampler draws noise at every step, as for few steps"
