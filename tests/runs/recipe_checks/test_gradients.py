from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load, problems


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["balance.gram=signal", "measure.parts=false"],
            'balance.gram: "signal" needs measure.parts = true',
        ),
        (
            ["balance.gram=signal", "training.gradients=backward"],
            'balance.gram: "signal" needs training.gradients = "contracted"',
        ),
        (
            ["measure.fresh_every=2", "measure.parts=false"],
            "measure.fresh_every: needs measure.parts = true",
        ),
        (
            ["measure.halves=levels", "training.noise_levels=1"],
            'measure.halves: "levels" needs training.noise_levels of at least 2',
        ),
        (["model.lora.dora=true"], 'model.lora.dora: needs training.gradients = "backward"'),
        (
            ["model.lora.dora=true", "training.gradients=backward", "measure.fresh_every=1"],
            "measure.fresh_every: must be 0 with model.lora.dora",
        ),
    ],
)
def test_what_needs_parts_or_two_backward_passes_is_named(
    folder: Path, overrides: list[str], line: str
) -> None:
    (found,) = problems(folder, *overrides)
    assert found.startswith(line)


def test_gradients_without_parts_and_dora_have_their_way(folder: Path) -> None:
    assert not load(folder, "measure.parts=false", "balance.gram=whole").measure.parts
    assert load(folder, "model.lora.dora=true", "training.gradients=backward").model.lora.dora


def test_what_depends_on_a_faulty_field_isnt_told(folder: Path) -> None:
    assert problems(folder, "measure.parts=maybe", "measure.fresh_every=2") == [
        'measure.parts: expected true or false, got "maybe"'
    ]
