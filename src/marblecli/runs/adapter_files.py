"""Adapter files and folders: their tensors, and what they say of them.

It is a safetensors file, or a folder with one in it: PEFT's ``adapter_model.safetensors`` beside
``adapter_config.json``, or diffusers' ``pytorch_lora_weights.safetensors``. Of marble itself, it is
a checkpoint's file, a checkpoint (its average) or a run (its newest checkpoint's average).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from marblecli.errors import BadInputError, one_of
from marblecli.runs.checkpoints import STATE
from marblecli.runs.recipe import read_table
from marblecli.runs.run import AVERAGE, RECIPE, Run
from marblecli.types import AdapterFile, Json

PEFT_CONFIG, PEFT_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
DIFFUSERS_WEIGHTS = "pytorch_lora_weights.safetensors"
SUFFIX = ".safetensors"
_METADATA = "lora_adapter_metadata"
"""Where diffusers keeps the settings in a file's metadata, as JSON."""
BASE_KEYS = ("base_model_name_or_path", "revision")
"""Of the settings, those that marble's files without such JSON have in the metadata itself."""


def adapter_weights_file(path: Path) -> Path | None:
    """The safetensors file of an adapter that is a file or a folder; None if it is neither."""
    if path.is_file():
        return path if path.suffix == SUFFIX else None
    names = (PEFT_WEIGHTS, DIFFUSERS_WEIGHTS)
    return next((path / name for name in names if (path / name).is_file()), None)


def read_adapter_file(path: Path) -> AdapterFile:
    """Read an adapter that is a file or a folder.

    Raises BadInputError, which names it, if it is neither or can't be read.
    """
    file = _of_run(path) or adapter_weights_file(path)
    if file is None:
        expected = one_of(
            (f"a {SUFFIX} file", f"a folder with {PEFT_WEIGHTS} or {DIFFUSERS_WEIGHTS}")
        )
        raise BadInputError(f"{path}: no adapter there; expected {expected}")
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load_file

    try:
        with safe_open(file, framework="pt") as opened:
            metadata: Mapping[str, str] = opened.metadata() or {}
        tensors = load_file(file)
    except (OSError, SafetensorError) as error:
        raise BadInputError(f"{file}: can't be read as safetensors: {error}") from error
    config = file.parent / PEFT_CONFIG
    settings = _settings(metadata, file)
    if file.name == PEFT_WEIGHTS and config.is_file():
        settings |= _json(config.read_text(encoding="utf-8"), config)
    settings |= _settings_of_run(file)
    return AdapterFile(str(path), tensors, settings)


def _of_run(path: Path) -> Path | None:
    """The average of a run or of a checkpoint; None if the path is neither."""
    if (path / RECIPE).is_file():
        path = Run.open(path).latest_checkpoint()
    average = path / f"{AVERAGE}{SUFFIX}"
    return average if average.is_file() else None


def _settings_of_run(file: Path) -> dict[str, Json]:
    """What the recipe says of a checkpoint's file, which doesn't say it itself."""
    recipe = file.absolute().parent.parent.parent / RECIPE
    if not (file.parent / STATE).is_file() or not recipe.is_file():
        return {}
    lora = read_table(recipe).get("model", {}).get("lora", {})
    return (
        {"r": lora["rank"], "lora_alpha": lora["alpha"]} if {"rank", "alpha"} <= set(lora) else {}
    )


def _settings(metadata: Mapping[str, str], file: Path) -> dict[str, Json]:
    """The settings of the network's adapter; diffusers puts the part's name before each key."""
    found: dict[str, Json] = {key: metadata[key] for key in BASE_KEYS if key in metadata}
    for key, value in _json(metadata.get(_METADATA, "{}"), file).items():
        part, _, name = key.rpartition(".")
        if not part.startswith("text_encoder"):
            found[name] = value
    return found


def _json(text: str, place: Path) -> dict[str, Json]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadInputError(f"{place}: its settings aren't JSON: {error}") from error
    if not isinstance(found, dict):
        raise BadInputError(f"{place}: its settings are no JSON object")
    return found
