"""Weights from files: nothing in them is executed, and nothing that is missing is made up."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from marblecli.errors import MarbleError

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a ``.pt`` or ``.pth`` file holds, as tensors and plain values only.

    Raises MarbleError if there is no such file, it is damaged, or it asks for code to be run.
    """
    if not path.is_file():
        raise MarbleError(f"{path.parent} has no file {path.name}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError) as error:
        raise MarbleError(f"{path} is damaged or holds more than weights: not loaded") from error
    if not isinstance(content, dict):
        raise MarbleError(f"{path} holds no dictionary of weights")
    return content


def part(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights whose names start with ``prefix``, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in weights.items()
        if name.startswith(prefix)
    }


def rename(name: str, rules: Iterable[tuple[str, str]]) -> str:
    """The name after each rule, a pattern and its replacement, in turn."""
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def load_transformer(source: Path, kind: Any, **arguments: Any) -> nn.Module:
    """A transformers model of the class ``kind``, all of its weights read, in float32.

    ``arguments`` go to ``from_pretrained``: either ``config`` and ``state_dict``, or none to read
    the folder ``source``. Raises MarbleError where transformers would fill in random weights.
    """
    folder = None if "state_dict" in arguments else source
    module: nn.Module
    module, report = kind.from_pretrained(
        folder,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        output_loading_info=True,
        **arguments,
    )
    # Old files carry the buffer position_ids, which is no weight.
    extra = {name for name in report["unexpected_keys"] if not name.endswith("position_ids")}
    for what, names in (("lacks", report["missing_keys"]), ("has besides", extra)):
        if names:
            raise MarbleError(f"{source} {what} {_some(names)}: not the weights of {kind.__name__}")
    return module


def _some(names: set[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first
