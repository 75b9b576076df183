from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import RECIPE, load, problems


def test_the_default_noise_levels_are_checked_too(folder: Path) -> None:
    text = RECIPE.replace("noise_levels = 2", "")
    (folder / "recipe.toml").write_text(text)
    (line,) = problems(folder, "sampling.steps=3")
    assert line.startswith("training.noise_levels: must be at most sampling.steps = 3, got 4")


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
    assert problems(folder, "sampling.steps=many", "training.noise_levels=11") == [
        'sampling.steps: expected a whole number, got "many"'
    ]
