from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from marblecli.rewards.kit.recording import RecordingMetadata, may_read
from marblecli.rewards.spec import RewardSpec


def recorded(*optional: str) -> tuple[RecordingMetadata, set[str]]:
    spec = RewardSpec("r", "", print, metadata=("text",), optional_metadata=optional)  # type: ignore[arg-type]
    reads: set[str] = set()
    return RecordingMetadata({"text": "HI", "count": 2, "tag": "x"}, spec, reads), reads


def test_declared_fields_can_be_read_and_that_is_noted() -> None:
    fields, reads = recorded("tag")
    assert fields["text"] == "HI"
    assert fields.get("tag") == "x"
    assert reads == {"text", "tag"}


def test_an_undeclared_field_is_missing_and_asking_for_it_is_noted() -> None:
    fields, reads = recorded()
    with pytest.raises(KeyError):
        fields["count"]
    assert reads == {"count"}


@pytest.mark.parametrize(
    "ask", [lambda fields: fields.get("count", 0), lambda fields: "count" in fields]
)
def test_asking_with_get_or_in_is_noted(ask: Callable[[Any], Any]) -> None:
    fields, reads = recorded()
    assert not ask(fields)
    assert reads == {"count"}


def test_a_copy_has_the_declared_fields_only_and_is_allowed() -> None:
    fields, reads = recorded("tag")
    assert dict(fields) == {"text": "HI", "tag": "x"}
    assert len(fields) == 2
    assert reads <= {"text", "tag"}


def test_a_star_stands_for_any_field() -> None:
    fields, _ = recorded("*")
    assert dict(fields) == {"text": "HI", "count": 2, "tag": "x"}
    spec = RewardSpec("r", "", print, optional_metadata=("*",))  # type: ignore[arg-type]
    assert may_read(spec, "anything")
