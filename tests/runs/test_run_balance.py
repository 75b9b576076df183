from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.run_balance import RunBalance, read_balance

RECIPE = """
[model]
pretrained = "/gone/since"
[rewards.ocr]
weight = 2.0
[rewards.aes]
option = "of a plugin that isn't here"
[balance]
method = "marble"
memory = 0.9
[balance.priorities]
ocr = 2.0
"""


def read(text: str) -> RunBalance:
    return read_balance(tomllib.loads(text), Path("run") / "recipe.toml")


def test_the_balance_and_the_weights_are_read() -> None:
    found = read(RECIPE)
    assert found.settings.memory == 0.9
    written_out = {"solver": "wolfe", "priorities": {"ocr": 2.0}, "floors": {}}
    assert found.settings.options == written_out
    assert found.loss_weights == {"ocr": 2.0, "aes": 1.0}


def test_a_recipe_that_says_nothing_of_the_balance_has_the_usual_one() -> None:
    assert read("[rewards.ocr]\n").settings.method == "marble"


@pytest.mark.parametrize(
    "text",
    [
        '[balance]\nmethod = "of-tomorrow"\n',
        "balance = 3\n",
        "rewards = 3\n",
        "[balance]\n[rewards]\nocr = 3\n",
        '[balance]\n[rewards.ocr]\nweight = "heavy"\n',
        "[balance]\n[rewards.ocr]\nweight = -1\n",
    ],
)
def test_a_balance_of_another_kind_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(BadInputError, match=r"recipe\.toml: can't read its balance: ") as caught:
        read(text)
    assert "\n" not in str(caught.value)
