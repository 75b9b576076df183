"""Embeddings of prompts on disk, shared by any number of runs and processes.

Each prompt has a file. The files that depend on the same model, settings and code share a folder.
A file is complete or absent, so that no process has to wait for another: at worst, two of them
compute the same embedding.
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
    """The embeddings under ``folder``, of the model and settings that ``identity`` stands for."""

    def __init__(self, folder: Path, identity: str) -> None:
        self.folder = folder / identity

    def read(self, texts: Iterable[str]) -> dict[str, Mapping[str, Tensor]]:
        """The stored embeddings, by text, on the CPU; an unreadable file counts as absent."""
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
        """Store one embedding. Raises MarbleError if it can't be written."""
        file = self._file(text)
        with explaining_failure(file, _ADVICE):
            self.folder.mkdir(parents=True, exist_ok=True)
            # The draft has a unique name: another process may be writing the same prompt.
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
        # safetensors reports a full disk as an error of its own.
        raise OSError(str(error)) from error
