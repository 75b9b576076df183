"""What an export format is, and the names of all of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar

from marblecli.export.subject import Subject, Writer


class ExportFormat(ABC):
    """One way to save the trained weights, and to see that its reader gets them."""

    name: ClassVar[str]
    """As ``--format`` takes it."""

    def refusal(self, subject: Subject) -> str | None:  # noqa: ARG002, for formats
        """Why these weights can't be saved so; None if they can. They haven't been read yet."""
        return None

    @abstractmethod
    def file(self, subject: Subject) -> str:
        """The file's or folder's name within the export."""

    @abstractmethod
    def write(self, subject: Subject, path: Path, writer: Writer) -> None:
        """Write the file or folder at ``path``, which isn't there yet."""

    @abstractmethod
    def check(self, subject: Subject, path: Path) -> float:
        """Load it back as its reader does; the largest difference from the run's weights.

        Raises MarbleError, in one line, if it isn't what the run has.
        """


def without_map(subject: Subject) -> str | None:
    """The refusal of formats that are keyed by the published network's layers."""
    config = subject.architecture.parts["transformer"]
    if subject.family.native_layers(config):
        return None
    return f"the layers of {subject.family.spec.title} aren't mapped to those of other tools"
