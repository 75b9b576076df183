"""What a run is started on: versions of the packages and of the machine's software."""

from __future__ import annotations

import platform
import re
from importlib import metadata

from marblecli.types import Json

_REQUIREMENT_NAME = re.compile(r"[A-Za-z0-9._-]+")


def describe_environment() -> dict[str, Json]:
    """What ``environment.json`` holds; it doesn't say who started the run, or in which folder."""
    names = {"marblecli", *_plugin_distributions(), *_requirements("marblecli")}
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "device": _device(),
        "packages": {name: _version(name) for name in sorted(names)},
    }


def _device() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def _requirements(distribution: str) -> set[str]:
    lines = [line for line in metadata.requires(distribution) or () if "extra ==" not in line]
    return {match[0] for line in lines if (match := _REQUIREMENT_NAME.match(line))}


def _plugin_distributions() -> set[str]:
    found = metadata.entry_points(group="marble")
    return {entry.dist.name for entry in found if entry.dist is not None}


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
