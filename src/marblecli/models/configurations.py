"""Reading a model's configurations: from a folder, from the hub, or from what is shipped.

Only JSON is read and torch isn't imported: this is for what must be known before weights load.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from marblecli.errors import BadInputError

Config = Mapping[str, Any]

INDEX = "model_index.json"
"""The pipeline's own configuration; it also stands for the pipeline among a family's classes."""
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
    """By part, as in the family's ``parts``; what the pipeline lacks is absent."""

    def place(self, file: str) -> str:
        """A configuration file as a user finds it."""
        folder = Path(self.name)
        return str(folder / file) if folder.is_absolute() else f"{file} of {self.name}"


@dataclass(frozen=True)
class Source:
    """Where configuration files come from."""

    name: str
    """A hub id or a folder."""
    read: Callable[[str], str]
    """File -> its text. Raises UnreadableConfigError."""

    def config(self, file: str) -> Config:
        """One configuration. Raises UnreadableConfigError."""
        try:
            config = json.loads(self.read(file))
        except ValueError as error:
            raise UnreadableConfigError(f"{file} of {self.name} isn't JSON: {error}") from error
        if not isinstance(config, dict):
            raise UnreadableConfigError(f"{file} of {self.name} holds no table")
        return config

    def architecture(self, index: Config, parts: Mapping[str, str]) -> Architecture:
        """The parts that the pipeline has, of those with a configuration file each.

        Raises UnreadableConfigError.
        """
        found = {part: self.config(file) for part, file in parts.items() if _has(index, part)}
        return Architecture(self.name, index, found)


def _has(index: Config, part: str) -> bool:
    """Whether the pipeline has that part; a part left out stands as ``[null, null]``."""
    entry = index.get(part)
    return part not in index or (isinstance(entry, list) and any(entry))


def folder_source(folder: Path) -> Source:
    """A folder in diffusers' layout."""

    def read(file: str) -> str:
        try:
            return (folder / file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "isn't text"
            raise UnreadableConfigError(f"{folder} has no readable {file}: {reason}") from error

    return Source(str(folder), read)


def hub_source(hub_id: str, revision: str | None) -> Source:
    """A hub repository: its files in the hub's cache or, where they aren't, from the hub."""

    def read(file: str) -> str:
        return _hub_file(hub_id, revision, file)

    return Source(hub_id, read)


def _hub_file(hub_id: str, revision: str | None, file: str) -> str:
    from huggingface_hub import get_session, hf_hub_url, try_to_load_from_cache

    # All public; the library's types don't export them. HTTPError is that of the client that it is
    # built on: httpx, or its successor.
    from huggingface_hub.errors import HFValidationError, HTTPError  # type: ignore[attr-defined]
    from huggingface_hub.utils import (  # type: ignore[attr-defined] # as above
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
            f"{file} of {hub_id} isn't in the hub's cache, and it can't be downloaded: {reason}"
        ) from error
    return str(answer.text)


def shipped_parts(package: str, folder: str, parts: Mapping[str, str]) -> dict[str, Config]:
    """Configurations that are shipped in ``package``: a model's own, or those of all models."""
    data = files(package) / "configurations"
    found = {}
    for part in parts:
        own = data / folder / f"{part}.json"
        file = own if own.is_file() else data / "common" / f"{part}.json"
        found[part] = json.loads(file.read_text(encoding="utf-8"))
    return found
