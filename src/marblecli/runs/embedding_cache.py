"""Embeddings of prompts on disk, shared by any number of runs and processes.

A prompt is a file of its own, in a folder of its own for all that its embedding depends on. Files
are complete or absent, so that nobody needs to wait for anybody: at worst two compute the same.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.runs.atomic import explaining_failure

if TYPE_CHECKING:
    from torch import Tensor

_ADVICE = "choose another model.embedding_cache"


class EmbeddingCache:
    """The embeddings under ``folder`` of the model that ``identity`` stands for."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / identity

    def read(self, texts: Iterable[str]) -> dict[str, Mapping[str, Tensor]]:
        """Of the texts that are there, on the CPU; a file that can't be read isn't there."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        found: dict[str, Mapping[str, Tensor]] = {}
        for text in texts:
            try:
                found[text] = load_file(self._file(text))
            except (OSError, SafetensorError):
                continue
        return found

    def write(self, text: str, embedding: Mapping[str, Tensor]) -> None:
        """Keep one. Raises MarbleError if it can't be written."""
        file = self._file(text)
        with explaining_failure(file, _ADVICE):
            self.folder.mkdir(parents=True, exist_ok=True)
            # A name of its own: another process may be writing the same prompt.
            descriptor, draft = tempfile.mkstemp(".unfinished", dir=self.folder)
            os.close(descriptor)
            try:
                _save(embedding, draft, text)
                Path(draft).replace(file)
            finally:
                Path(draft).unlink(missing_ok=True)

    def _file(self, text: str) -> Path:
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"


def _save(embedding: Mapping[str, Tensor], path: str, text: str) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(dict(embedding), path, metadata={"prompt": text})
    except SafetensorError as error:
        # It reports a full disk as an error of its own.
        raise OSError(str(error)) from error
