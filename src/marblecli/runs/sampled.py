"""The images of ``marble sample``: a folder of PNGs that hold their parameters, and a grid."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from PIL import Image

from marblecli.runs.atomic import clean_up, explaining_failure, replacing
from marblecli.runs.image_files import format_of, save_image

_ADVICE = "give another --output"
_LONGEST = 40
"""Characters of a prompt in a file's name."""


class SampledFolder:
    """A folder that images are written to; files of the same names are replaced."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def make(cls, path: Path) -> SampledFolder:
        """Make the folder, if it isn't there. Raises MarbleError if it can't be made."""
        with explaining_failure(path, _ADVICE):
            path.mkdir(parents=True, exist_ok=True)
            clean_up(path)
        return cls(path)

    def add(self, name: Sequence[str], image: Image.Image, parameters: Mapping[str, str]) -> Path:
        """Write a PNG with its parameters as texts; ``name`` are the parts of its name.

        Raises MarbleError if it can't be written.
        """
        path = self.path / f"{'-'.join(_plain(part) for part in name)}.png"
        with explaining_failure(path, _ADVICE), replacing(path) as draft:
            save_image(draft, image, parameters)
        return path

    def save_grid(self, picture: Image.Image, size: tuple[int, int]) -> Path:
        """Write ``grid.png`` or ``.jpg``, of images of ``size`` (width, height)."""
        path = self.path / f"grid.{format_of(size)}"
        with explaining_failure(path, _ADVICE), replacing(path) as draft:
            save_image(draft, picture)
        return path


def _plain(part: str) -> str:
    """The part with nothing but letters, digits and hyphens, not too long."""
    return re.sub(r"[\W_]+", "-", part).strip("-")[:_LONGEST].strip("-")
