from __future__ import annotations

import tomllib
from typing import Any, Self

import pytest
from pydantic import BaseModel, model_validator

from marblecli.runs.recipe_checks.sound import FaultyFieldError, sound_part, sound_settings
from marblecli.settings import (
    ModelSettings,
    Recipe,
    SamplingSettings,
)
from support.recipes import RECIPE


def table(**changes: Any) -> dict[str, Any]:
    """The recipe as a table, with ``SECTION__KEY`` set."""
    found = tomllib.loads(RECIPE)
    for key, value in changes.items():
        section, _, name = key.partition("__")
        found[section] = {**found.get(section, {}), name: value} if name else value
    return found


def test_a_sound_recipe_is_its_own_sound_part() -> None:
    recipe, part = Recipe.model_validate(table()), sound_part(table())
    for name, section in recipe:
        found = getattr(part, name)
        if isinstance(section, dict):
            assert found.keys() == section.keys()
            pairs = [(section[key], found[key]) for key in section]
        else:
            pairs = [(section, found)]
        for one, other in pairs:
            for key, value in one:
                assert getattr(other, key) == value


def test_other_fields_of_a_faulty_table_are_read_with_the_models_own_defaults() -> None:
    part = sound_part(table(sampling__group_size=1, training__steps="many"))
    assert part.training.noise_levels == 2
    assert part.training.learning_rate == 3e-4
    assert part.sampling.steps == 10
    assert part.sampling.batch_size == SamplingSettings().batch_size


@pytest.mark.parametrize(
    "changes",
    [{"training__steps": "many"}, {"training": 3}, {"training": {}}, {"training__steps": None}],
)
def test_a_faulty_field_is_not_read(changes: dict[str, Any]) -> None:
    with pytest.raises(FaultyFieldError, match=r"training|steps"):
        _ = sound_part(table(**changes)).training.steps


def test_an_unknown_key_leaves_the_others() -> None:
    assert sound_part(table(training__stpes=3)).training.steps == 5


def test_a_fault_deep_in_a_table_leaves_the_rest_of_it() -> None:
    part = sound_part(table(model__lora={"rank": "many", "dora": True}))
    assert part.model.lora.dora
    assert part.model.lora.targets is None


def test_a_list_with_a_fault_is_faulty_as_a_whole() -> None:
    phases = [{"method": "equal", "until": 2}, {"method": "equal", "until": 0}]
    part = sound_part(table(balance={"phases": phases, "gram": "signal"}))
    assert part.balance.gram == "signal"
    with pytest.raises(FaultyFieldError):
        _ = part.balance.phases


def test_the_table_that_was_read_stays_as_it_was() -> None:
    given = table(model__lora={"rank": "many"}, training__steps="many")
    sound_part(given)
    assert given == table(model__lora={"rank": "many"}, training__steps="many")


def test_settings_have_defaults_in_place_of_their_faulty_fields() -> None:
    given = {"pretrained": "a/b", "dtype": "fp8", "lora": {"rank": 0, "alpha": 3}, "odd": 1}
    found = sound_settings(ModelSettings, given)
    assert found is not None
    assert (found.pretrained, found.dtype) == ("a/b", ModelSettings(pretrained="").dtype)
    assert (found.lora.rank, found.lora.alpha) == (ModelSettings(pretrained="").lora.rank, 3)


@pytest.mark.parametrize("given", [{}, {"pretrained": 3}, 3, None])
def test_settings_that_need_a_faulty_field_are_none(given: Any) -> None:
    assert sound_settings(ModelSettings, given) is None


class Pair(BaseModel):
    """Two fields that have to be told apart."""

    one: int = 1
    other: int = 2
    third: int = 3

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.one == self.other:
            raise ValueError("must differ")
        return self


def test_settings_that_dont_go_together_are_none() -> None:
    assert sound_settings(Pair, {"one": 2, "third": "many"}) is None
    assert sound_settings(Pair, {"one": 5, "third": "many"}) is not None
