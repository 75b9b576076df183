from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load, problems


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.gradients=backward", 'training.gradients = "contracted"'),
        ("measure.parts=false", "measure.parts = true"),
        ("measure.slices_every=0", "measure.slices_every above 0"),
        (
            "balance.method=marble-published",
            "another balance.method: this one measures no whole batch",
        ),
    ],
)
def test_levels_drawn_by_signal_need_its_measurement(
    folder: Path, override: str, line: str
) -> None:
    found = problems(folder, "training.levels.draw=signal", override)
    assert found == [f'training.levels.draw: "signal" needs {line}']
    assert load(folder, "training.levels.draw=signal").training.levels.draw == "signal"


def test_fewer_images_are_chosen_than_a_group_has(folder: Path) -> None:
    line = (
        "training.rows.extremes: must be below sampling.group_size, which is 4; or set it to 0 "
        "for all"
    )
    assert problems(folder, "sampling.group_size=4", "training.rows.extremes=4") == [line]
    recipe = load(folder, "sampling.group_size=6", "training.rows.extremes=4")
    assert recipe.training.rows.extremes == 4


def test_extremes_are_pairs_and_a_share_needs_a_draw(folder: Path) -> None:
    (found,) = problems(folder, "training.rows.extremes=3")
    assert found.startswith("training.rows.extremes: ")
    (found,) = problems(folder, "training.rows.share=0.3")
    assert found == 'training.rows: share needs draw = "by-size"'
