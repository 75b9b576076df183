from __future__ import annotations

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.run_balance import read_run_balance

RECIPE = """
[model]
pretrained = "/gone/since"
[rewards.ocr]
weight = 2.0
[rewards.aes]
[balance]
method = "marble"
memory = 0.9
[balance.priorities]
ocr = 2.0
"""


def test_the_balance_and_the_weights_are_read_though_the_model_is_gone(tmp_path):
    (tmp_path / "recipe.toml").write_text(RECIPE)
    found = read_run_balance(tmp_path)
    assert found.settings.memory == 0.9
    assert found.settings.options == {"priorities": {"ocr": 2.0}}
    assert found.loss_weights == {"ocr": 2.0, "aes": 1.0}


def test_a_run_without_a_recipe_has_none(tmp_path):
    assert read_run_balance(tmp_path) is None


def test_a_recipe_that_says_nothing_of_the_balance_has_the_usual_one(tmp_path):
    (tmp_path / "recipe.toml").write_text("[rewards.ocr]\n")
    assert read_run_balance(tmp_path).settings.method == "marble"


@pytest.mark.parametrize(
    "text",
    [
        "[balance\n",
        '[balance]\nmethod = "of-tomorrow"\n',
        "balance = 3\n",
        "[balance]\n[rewards]\nocr = 3\n",
        '[balance]\n[rewards.ocr]\nweight = "heavy"\n',
    ],
)
def test_a_balance_of_another_kind_is_refused_in_one_line(tmp_path, text):
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(BadInputError, match=r"recipe\.toml: can't read its balance: ") as caught:
        read_run_balance(tmp_path)
    assert "\n" not in str(caught.value)
