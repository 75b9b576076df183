"""One ``marble eval`` on the disk, so that it can go on after it was stopped.

=============  ====================================================================
request.json   what is evaluated, how, and on which prompts
scores.jsonl   one line for each finished batch: its images with their scores
images/        some of the images, as ``SPLIT-PLACE-SUBJECT.png``
samples/       the same images side by side
result.json    what the command prints with ``--json``; written last
=============  ====================================================================

An evaluation that was stopped is continued by the same request. One with a result is made anew.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image
from pydantic import TypeAdapter, ValidationError

from marblecli.errors import BadInputError
from marblecli.pictures.tiles import to_image
from marblecli.runs.atomic import clean_up, explaining_failure, remove, replacing, write_text
from marblecli.runs.image_files import read_image, save_image
from marblecli.runs.json_lines import append_line, keep_until, read_lines, to_json
from marblecli.runs.samples import save_comparison
from marblecli.runs.schema import stamped
from marblecli.types import EvaluationRecord, Json, RewardFault, ScoredImage

if TYPE_CHECKING:
    from torch import Tensor

Subject = Literal["other", "target"]
"""``target`` is what is evaluated, ``other`` what it is compared with."""

_ADVICE = "the same command goes on from what was saved; --output DIR writes elsewhere"


@dataclass(frozen=True)
class ScoredPart:
    """Some prompts of a split, all of whose images are scored."""

    subject: Subject
    split: str
    images: tuple[ScoredImage, ...]
    faults: tuple[RewardFault, ...] = ()


_PART = TypeAdapter(ScoredPart)


@dataclass
class EvaluationFolder:
    """The folder of one evaluation; only one process may write there."""

    directory: Path
    parts: list[ScoredPart] = field(default_factory=list)
    """What is scored already."""

    @classmethod
    def at(cls, directory: Path, request: Mapping[str, Json]) -> EvaluationFolder:
        """Continue the evaluation that ``request`` describes, or begin it anew.

        Raises:
            MarbleError: the folder can't be written.
            BadInputError: what is there can't be read.

        """
        found = cls(directory)
        with explaining_failure(directory, _ADVICE):
            directory.mkdir(parents=True, exist_ok=True)
            clean_up(directory)
        wanted = to_json(stamped(request), indent=1)
        if found._result.exists() or _text(found._request) != wanted:
            found._begin(wanted)
        else:
            found.parts += found._read()
        return found

    def add(self, part: ScoredPart, pictures: Mapping[int, Tensor]) -> None:
        """Keep a finished part, and the images of the prompts at some places.

        Each image is float32 [3, H, W] in [0, 1]. Raises MarbleError if that fails.
        """
        with explaining_failure(self.directory, _ADVICE):
            self._images.mkdir(exist_ok=True)
            for place, image in pictures.items():
                with replacing(self._image(part.split, place, part.subject)) as draft:
                    _save_image(draft, image)
            line = _PART.dump_python(part, mode="json")
            append_line(self._scores, stamped({"step": len(self.parts), **line}))
        self.parts.append(part)

    def scored(self, subject: Subject, split: str) -> tuple[ScoredImage, ...]:
        """The images that are scored, in the order of their prompts."""
        images = (image for part in self._of(subject, split) for image in part.images)
        return tuple(sorted(images, key=lambda image: (image.place, image.number)))

    def faults(self, subject: Subject, split: str) -> tuple[RewardFault, ...]:
        """Where rewards failed."""
        return tuple(fault for part in self._of(subject, split) for fault in part.faults)

    def finish(
        self, result: Mapping[str, Json], step: int, splits: Sequence[str], other: str
    ) -> None:
        """Write the pictures of ``splits``, other and target side by side, and the result.

        ``other`` is what that one is called.
        """
        samples = self.directory / "samples"
        with explaining_failure(self.directory, _ADVICE):
            samples.mkdir(exist_ok=True)
        before = self._pictured(step, "other", splits)
        after = self._pictured(step, "target", splits)
        if any(before.images.values()) and any(after.images.values()):
            self._draw(samples, before, after, other)
        with explaining_failure(self._result, _ADVICE):
            write_text(self._result, to_json(stamped(result), indent=1))

    @property
    def _request(self) -> Path:
        return self.directory / "request.json"

    @property
    def _scores(self) -> Path:
        return self.directory / "scores.jsonl"

    @property
    def _result(self) -> Path:
        return self.directory / "result.json"

    @property
    def _images(self) -> Path:
        return self.directory / "images"

    def _image(self, split: str, place: int, subject: Subject) -> Path:
        return self._images / f"{split}-{place:04d}-{subject}.png"

    def _begin(self, request: str) -> None:
        with explaining_failure(self.directory, _ADVICE):
            for old in (self._scores, self._images, self._result, self.directory / "samples"):
                remove(old)
            write_text(self._request, request)

    def _read(self) -> list[ScoredPart]:
        with explaining_failure(self._scores, _ADVICE):
            # A line that a kill cut short must go before another one is appended.
            keep_until(self._scores, sys.maxsize)
        return [
            _to_part(line, f"{self._scores}, line {number}")
            for number, line in enumerate(read_lines(self._scores), start=1)
        ]

    def _of(self, subject: Subject, split: str) -> list[ScoredPart]:
        return [part for part in self.parts if (part.subject, part.split) == (subject, split)]

    def _pictured(self, step: int, subject: Subject, splits: Sequence[str]) -> EvaluationRecord:
        """The scores of the images of which a picture is kept."""
        kept = {
            split: tuple(
                image
                for image in self.scored(subject, split)
                if image.number == 0 and self._image(split, image.place, subject).is_file()
            )
            for split in splits
        }
        return EvaluationRecord(step, "base" if subject == "other" else "trained", kept)

    def _draw(
        self, folder: Path, other: EvaluationRecord, target: EvaluationRecord, name: str
    ) -> None:
        def find(split: str, index: int) -> Image.Image:
            return read_image(self._image(split, target.images[split][index].place, "target"))

        def find_other(split: str, image: ScoredImage) -> Image.Image | None:
            path = self._image(split, image.place, "other")
            return read_image(path) if path.is_file() else None

        save_comparison(folder, other, target, find, find_other, name)


def _to_part(line: dict[str, Any], place: str) -> ScoredPart:
    try:
        return _PART.validate_python(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{place}: {key}: {first['msg']}") from error


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _save_image(path: Path, image: Tensor) -> None:
    save_image(path, to_image(image))
