from __future__ import annotations

import pytest

from marblecli.cli.train.resumption import differences, evaluations_differ


def test_differences_are_dotted_and_have_both_values() -> None:
    one = {"training": {"steps": 5, "rate": 1.0}, "eval": {"every": 0}, "same": [1, 2]}
    two = {
        "training": {"steps": 9, "rate": 1.0},
        "tracking": {"log_with": ["wandb"]},
        "same": [1, 2],
    }
    assert differences(one, two) == {
        "training.steps": (5, 9),
        "eval": ({"every": 0}, None),
        "tracking": (None, {"log_with": ["wandb"]}),
    }
    assert differences(one, one) == {}


@pytest.mark.parametrize(
    ("key", "differ"),
    [
        ("eval.every", False),
        ("eval.steps", True),
        ("eval.held_out_prompts", True),
        ("training.steps", False),
    ],
)
def test_which_changes_make_other_evaluations(key: str, differ: bool) -> None:
    assert evaluations_differ({key: (1, 2)}) is differ
