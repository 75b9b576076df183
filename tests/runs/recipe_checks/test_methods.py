from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load, problems


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["balance.method=marbel"], "balance.method: unknown method 'marbel'"),
        (["balance.solvr=wolfe"], "balance.solvr: unknown key (did you mean 'solver'?)"),
        (["balance.floors.nobody=0.5"], "balance.floors: no reward 'nobody'"),
        (
            ["balance.method=equal", "balance.floors.ocr=0.5"],
            "balance.floors: only the method marble takes floors, not equal",
        ),
        (
            ["balance.method=raw-sum", "training.advantage_scale=group"],
            'training.advantage_scale: the method raw-sum needs "batch"',
        ),
    ],
)
def test_a_fault_of_a_method_is_named_at_its_key(
    folder: Path, overrides: list[str], line: str
) -> None:
    (found,) = problems(folder, *overrides)
    assert found.startswith(line)


def test_the_methods_own_options_are_written_out_and_read_back(folder: Path) -> None:
    recipe = load(folder, "balance.method=sequential", "balance.stage_steps=3")
    assert recipe.balance.options == {"stage_steps": 3}


def test_a_faulty_field_of_the_table_does_not_hide_the_rest(folder: Path) -> None:
    found = problems(folder, "balance.memory=2", "training.steps=0")
    assert [line.split(":")[0] for line in found] == ["training.steps", "balance.memory"]
