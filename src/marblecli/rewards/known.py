"""The rewards of marble's own plugins, so that a recipe can name one that isn't installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PACKAGES: Mapping[str, tuple[str, ...]] = {
    "marble-reward-basic": ("colourfulness", "contrast", "jpeg", "sharpness"),
    "marble-reward-geneval": ("geneval",),
    "marble-reward-ocr": ("ocr",),
    "marble-reward-preference": ("aesthetic", "clipscore", "hpsv2", "imagereward", "pickscore"),
    "marble-reward-remote": ("http", "vlm-judge"),
    "marble-reward-shapes": (
        "shapes-aesthetic",
        "shapes-colour",
        "shapes-composition",
        "shapes-compressibility",
        "shapes-evenness",
        "shapes-letters",
    ),
}
"""The rewards of each package in ``plugins/``."""


def package_of(reward: str) -> str | None:
    """The package of ``plugins/`` that has the reward; None if none of them has."""
    return next((package for package, names in PACKAGES.items() if reward in names), None)


def install_command(package: str) -> str:
    """The command that installs a package of ``plugins/``, from a checkout of marble."""
    return f"pip install -e {_place(package)}"


def _place(package: str) -> str:
    """The package's folder: where it is, or where it would be in a checkout."""
    folder = Path(__file__).parents[3] / "plugins" / package
    if not folder.is_dir():
        return f"plugins/{package}"
    here = Path.cwd()
    return str(folder.relative_to(here) if folder.is_relative_to(here) else folder)
