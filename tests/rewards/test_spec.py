from __future__ import annotations

import dataclasses
from typing import get_args

import pytest
from pydantic import ValidationError

from marblecli import rewards
from marblecli.rewards.spec import (
    ImageLayout,
    MovableScorer,
    NoOptions,
    RewardBatch,
    RewardSpec,
    hookimpl,
)


def test_a_spec_needs_only_a_name_a_summary_and_a_build() -> None:
    spec = RewardSpec("plain", "Nothing.", lambda options, device: len)  # type: ignore[arg-type,return-value]
    assert (spec.images, spec.metadata, spec.range) == ("uint8", (), (0.0, 1.0))
    assert spec.options is NoOptions
    assert (spec.optional_metadata, spec.examples) == ((), ())
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.name = "other"  # type: ignore[misc]


def test_a_reward_without_options_refuses_any() -> None:
    with pytest.raises(ValidationError):
        NoOptions.model_validate({"size": 1})


def test_there_are_three_layouts() -> None:
    assert get_args(ImageLayout) == ("uint8", "float", "pil")


def test_plugin_authors_import_from_the_room() -> None:
    assert rewards.RewardSpec is RewardSpec
    assert rewards.hookimpl is hookimpl


def test_a_scorer_that_can_be_moved_is_recognised() -> None:
    class Movable:
        def __call__(self, batch: RewardBatch) -> list[float]:
            return []

        def to(self, device: str, /) -> None:
            """Move."""

    assert isinstance(Movable(), MovableScorer)
    assert not isinstance(lambda batch: [], MovableScorer)
