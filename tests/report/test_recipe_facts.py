from __future__ import annotations

from marblecli.report.recipe_facts import differences_table, environment_facts, recipe_facts
from support.run_data import RECIPE


def test_the_facts_of_a_recipe() -> None:
    facts = recipe_facts(RECIPE)
    assert facts["model"] == "someone/model"
    assert facts["mode"] == "lora, rank 4, alpha 8"
    assert facts["images a step"] == "8 (4 prompts x 2)"
    assert facts["seed"] == "0"


def test_what_a_recipe_lacks_is_left_out() -> None:
    assert recipe_facts({}) == {}
    assert recipe_facts({"model": {"pretrained": "/a/b/tiny", "mode": "full"}}) == {
        "model": "tiny",
        "mode": "full",
    }


def test_the_machine_comes_before_the_packages() -> None:
    facts = environment_facts({"packages": {"torch": "2.13", "gone": None}, "device": "cpu"})
    assert list(facts.items()) == [("device", "cpu"), ("torch", "2.13"), ("gone", "unknown")]


def test_only_keys_that_differ_are_shown_with_every_value() -> None:
    one = {"schema": 1, "run": {"seed": 0}, "rewards": {"ocr": {"weight": 1.0}}}
    two = {"run": {"seed": 0}, "rewards": {"ocr": {"weight": 2.0}, "aes": {"weight": 1.0}}}
    table = differences_table(["A", "B"], [one, two])
    assert table.rows == (("rewards.ocr.weight", "1.0", "2.0"), ("rewards.aes.weight", None, "1.0"))
    assert differences_table(["A", "B"], [one, one]).rows == ()


def test_recipes_of_other_types_are_told_apart() -> None:
    table = differences_table(["A", "B"], [{"a": "1"}, {"a": [1]}])
    assert table.rows == (("a", "1", "[1]"),)
