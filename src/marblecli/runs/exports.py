"""Writing what the room ``export`` makes: a file or folder is complete and checked, or absent."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from marblecli.runs.atomic import explaining_failure, replacing, write_text
from marblecli.runs.checkpoints import save_tensors

if TYPE_CHECKING:
    from torch import Tensor

_ADVICE = "free some space, or name another folder with --output"
CARD = "README.md"
_PICTURES = {".png", ".jpg", ".jpeg", ".webp"}
_LARGEST = 8 * 2**20


class Savable(Protocol):
    """A model or pipeline of diffusers."""

    def save_pretrained(self, folder: Path) -> object:
        """Write itself into a folder."""


class ExportWriter:
    """Puts an export's files onto the disk."""

    def tensors(
        self, path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
    ) -> None:
        """Write a safetensors file with that metadata."""
        save_tensors(path, tensors, {"format": "pt", **metadata})

    def pretrained(self, folder: Path, model: Savable) -> None:
        """Have a model of diffusers write itself into a folder, which is made."""
        model.save_pretrained(folder)


@contextmanager
def exported(path: Path) -> Iterator[Path]:
    """Yield where to write and check ``path``; on leaving, it takes the place of what was there.

    Raises MarbleError if it can't be written. If the block raises, ``path`` stays as it was.
    """
    with explaining_failure(path, _ADVICE):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft:
            yield draft


def copy_pictures(samples: Path, step: int, folder: Path) -> list[str]:
    """Copy the run's pictures of a step into ``folder/images``; their names within ``folder``.

    Pictures of more than 8 MB are left out.
    """
    found = []
    for picture in sorted(samples.glob(f"step-{step:06d}*")):
        if picture.suffix in _PICTURES and picture.stat().st_size <= _LARGEST:
            place = folder / "images" / picture.name
            with exported(place) as draft:
                shutil.copyfile(picture, draft)
            found.append(place.relative_to(folder).as_posix())
    return found


def write_card(folder: Path, text: str) -> Path:
    """Write the model card beside an export."""
    path = folder / CARD
    with explaining_failure(path, _ADVICE):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(path, text)
    return path
