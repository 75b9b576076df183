from __future__ import annotations

from pathlib import Path

from support.recipes import load, problems


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
