"""The configurations of a Stable Diffusion 3: those shipped here, a folder's, a hub repository's.

Nothing but JSON is read, and torch isn't imported: this is for what must be known before weights
load. The transformers' figures are those of the published repositories; ``tests`` build them on the
meta device and count.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from marblecli.errors import BadInputError, did_you_mean, one_of
from marblecli.settings import ModelSettings

Config = Mapping[str, Any]

INDEX = "model_index.json"
PARTS = {
    "transformer": "transformer/config.json",
    "vae": "vae/config.json",
    "text_encoder": "text_encoder/config.json",
    "text_encoder_2": "text_encoder_2/config.json",
    "text_encoder_3": "text_encoder_3/config.json",
    "scheduler": "scheduler/scheduler_config.json",
}
"""Parts of a pipeline that have a configuration, and its file in diffusers' layout."""

SHIPPED = {
    "stabilityai/stable-diffusion-3-medium-diffusers": "sd3-medium",
    "stabilityai/stable-diffusion-3.5-medium": "sd3.5-medium",
    "stabilityai/stable-diffusion-3.5-large": "sd3.5-large",
}
"""Hub ids whose configuration is shipped, and its name."""

_DATA = "architectures_data"
_TIMEOUT = 5.0
"""Seconds that the hub has for one small file."""


class UnreadableConfigError(BadInputError):
    """A configuration that isn't there, can't be reached or isn't JSON."""


@dataclass(frozen=True)
class Architecture:
    """A pipeline as its configurations describe it."""

    name: str
    """A hub id or a folder."""
    index: Config
    """Its ``model_index.json``; empty for one that is shipped."""
    parts: Mapping[str, Config]
    """By part, as in :data:`PARTS`; a text encoder that the pipeline lacks is absent."""


def find_architecture(model: ModelSettings) -> Architecture:
    """The configurations of the recipe's model: local, shipped or, for other hub ids, the hub's.

    Raises:
        UnreadableConfigError: one can't be read; the message says which and why.
        BadInputError: the model is to be random, and no configuration of it is at hand.

    """
    if is_folder(model):
        return folder_architecture(Path(model.pretrained))
    if model.pretrained in SHIPPED or model.random_weights:
        return shipped_architecture(model.pretrained)
    return hub_architecture(model.pretrained, model.revision)


def is_folder(model: ModelSettings) -> bool:
    """Whether the model is local: a recipe's paths are absolute once it has been read."""
    return Path(model.pretrained).is_absolute()


def shipped_architecture(hub_id: str) -> Architecture:
    """One of :data:`SHIPPED`, without the hub. Raises BadInputError, which names them."""
    if hub_id not in SHIPPED:
        hint = did_you_mean(hub_id, SHIPPED)
        raise BadInputError(
            f"no configuration of {hub_id!r} is shipped{hint}; random weights need a folder in "
            f"diffusers' layout or one of {one_of(SHIPPED)}"
        )
    folder = files("marblecli.models") / _DATA
    own = folder / SHIPPED[hub_id]
    parts = {}
    for part in PARTS:
        file = own / f"{part}.json"
        file = file if file.is_file() else folder / "common" / f"{part}.json"
        parts[part] = json.loads(file.read_text(encoding="utf-8"))
    return Architecture(hub_id, {}, parts)


def folder_architecture(folder: Path) -> Architecture:
    """That of a folder in diffusers' layout. Raises UnreadableConfigError."""

    def read(file: str) -> str:
        try:
            return (folder / file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "isn't text"
            raise UnreadableConfigError(f"{folder} has no readable {file}: {reason}") from error

    return _read_architecture(str(folder), read)


@cache
def hub_architecture(hub_id: str, revision: str | None = None) -> Architecture:
    """That of a hub repository, from the hub's cache or, asked once a command, from the hub.

    Raises UnreadableConfigError if the hub can't be reached or refuses.
    """

    def read(file: str) -> str:
        return _hub_file(hub_id, revision, file)

    return _read_architecture(hub_id, read)


def _hub_file(hub_id: str, revision: str | None, file: str) -> str:
    from huggingface_hub import get_session, hf_hub_url, try_to_load_from_cache

    # All public; the library's types don't export them. HTTPError is that of the client that it is
    # built on: httpx, or its successor.
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        hf_raise_for_status,
    )

    try:
        cached = try_to_load_from_cache(hub_id, file, revision=revision)
        if isinstance(cached, str):
            return Path(cached).read_text(encoding="utf-8")
        # Not hf_hub_download: without a network it tries for half a minute.
        answer = get_session().get(
            hf_hub_url(hub_id, file, revision=revision),
            headers=build_hf_headers(),
            timeout=_TIMEOUT,
            follow_redirects=True,
        )
        hf_raise_for_status(answer)
    except (HTTPError, HFValidationError, OSError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableConfigError(
            f"{file} of {hub_id} isn't in the hub's cache, and the hub doesn't give it: {reason}"
        ) from error
    return str(answer.text)


def _read_architecture(name: str, read: Callable[[str], str]) -> Architecture:
    index = _parse(name, INDEX, read(INDEX))
    parts = {
        part: _parse(name, file, read(file)) for part, file in PARTS.items() if _has(index, part)
    }
    return Architecture(name, index, parts)


def _has(index: Config, part: str) -> bool:
    """Whether the pipeline has that part; a part left out stands as ``[null, null]``."""
    entry = index.get(part)
    return part not in index or (isinstance(entry, list) and any(entry))


def _parse(name: str, file: str, text: str) -> Config:
    try:
        config = json.loads(text)
    except ValueError as error:
        raise UnreadableConfigError(f"{file} of {name} isn't JSON: {error}") from error
    if not isinstance(config, dict):
        raise UnreadableConfigError(f"{file} of {name} holds no table")
    return config
