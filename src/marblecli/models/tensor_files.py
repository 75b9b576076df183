"""Reading the tensors of a safetensors file."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from marblecli.errors import MarbleError


def load_tensors(path: Path) -> dict[str, Tensor]:
    """By key, on the CPU. Raises MarbleError, in one line, if the file can't be read."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise MarbleError(f"{path}: can't be read as safetensors: {error}") from error
