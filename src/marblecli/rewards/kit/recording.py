"""Metadata that remembers which of its fields were read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from marblecli.rewards.spec import RewardSpec


class RecordingMetadata(Mapping[str, Any]):
    """The declared fields of a prompt's metadata; ``reads`` gets the names that a reward asks for.

    Other fields are left out. So copying the mapping breaks no contract, but asking for an
    undeclared field does.
    """

    def __init__(self, fields: Mapping[str, Any], spec: RewardSpec, reads: set[str]) -> None:
        self._fields = {key: fields[key] for key in fields if may_read(spec, key)}
        self._reads = reads

    def __getitem__(self, key: str) -> Any:
        self._reads.add(key)
        return self._fields[key]

    def __contains__(self, key: object) -> bool:
        self._reads.add(str(key))
        return key in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)


def may_read(spec: RewardSpec, key: str) -> bool:
    """Whether the reward declared the field."""
    return key in spec.metadata or key in spec.optional_metadata or "*" in spec.optional_metadata
