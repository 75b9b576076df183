"""The families that can be trained, and which of them a model belongs to."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from marblecli.errors import BadInputError
from marblecli.models.configurations import INDEX, Architecture, Config
from marblecli.models.family import Family
from marblecli.models.sd3.family import SD3

FAMILIES: tuple[Family, ...] = (SD3,)
"""A configuration that names no class is taken for the first one's."""


def family_of(architecture: Architecture) -> Family:
    """The family whose classes the configurations name.

    Raises BadInputError, which says what they name instead.
    """
    configs = {INDEX: architecture.index, **architecture.parts}
    candidates = list(FAMILIES)
    for part in (INDEX, *architecture.parts):
        named = [family for family in candidates if _names(configs[part], family, part)]
        if not named:
            raise BadInputError(_unknown(architecture, part, configs[part], candidates))
        candidates = named
    return candidates[0]


def family_of_index(name: str, index: Config) -> Family:
    """The same by ``model_index.json`` alone, which says what other configurations there are."""
    return family_of(Architecture(name, index, {}))


def family_by_name(name: str) -> Family | None:
    """The family that a hub id or folder is called after."""
    own = Path(name).name
    return next((family for family in FAMILIES if family.spec.called.search(own)), None)


def shipping_family(hub_id: str) -> Family | None:
    """The family that ships the configurations of that model."""
    return next((family for family in FAMILIES if hub_id in family.spec.shipped), None)


def shipped_models() -> tuple[str, ...]:
    """Hub ids whose configurations are shipped, of all families."""
    return tuple(hub_id for family in FAMILIES for hub_id in family.spec.shipped)


def titles() -> str:
    """What can be trained, as a user calls it."""
    return " or ".join(family.spec.title for family in FAMILIES)


def examples() -> str:
    """A model of each family, to recommend."""
    return " or ".join(family.spec.example for family in FAMILIES)


def default_family() -> Family:
    """The one that a model is taken for if neither a configuration nor its name says more."""
    return FAMILIES[0]


def _names(config: Config, family: Family, part: str) -> bool:
    """Whether the configuration names the family's class, or none at all."""
    wanted = family.spec.classes.get(part)
    return wanted is None or config.get("_class_name", wanted) == wanted


def _unknown(
    architecture: Architecture, part: str, config: Config, candidates: Iterable[Family]
) -> str:
    specs = [family.spec for family in candidates]
    file = next((spec.parts[part] for spec in specs if part in spec.parts), part)
    wanted = " or ".join(spec.classes[part] for spec in specs if part in spec.classes)
    titled = " or ".join(spec.title for spec in specs)
    return f"no {titled}: {architecture.place(file)} names {config['_class_name']}, not {wanted}"
