"""The keys of ``[model]`` that belong to the model's family."""

from __future__ import annotations

from pydantic import ValidationError

from marblecli.errors import Problem, unknown_key, validation_problems
from marblecli.models.family import Family
from marblecli.settings import OWN_MODEL_KEYS, ModelSettings, Recipe


def option_problems(family: Family, model: ModelSettings) -> list[Problem]:
    """What the family finds wrong with its keys; unknown ones get the nearest valid name."""
    schema = family.spec.options
    try:
        schema.model_validate(dict(model.options))
    except ValidationError as error:
        choices = OWN_MODEL_KEYS | schema.model_fields.keys()
        unknown = {
            f"model.{fault['loc'][0]}": unknown_key(str(fault["loc"][0]), choices, Recipe)
            for fault in error.errors(include_url=False)
            if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1
        }
        found = validation_problems(error, schema, "model.")
        return [Problem(one.key, unknown.get(one.key, one.message)) for one in found]
    return []


def resolved(family: Family, model: ModelSettings) -> ModelSettings:
    """The settings with every default of the family written out.

    Raises pydantic's ValidationError where :func:`option_problems` finds anything.
    """
    options = family.spec.options.model_validate(dict(model.options))
    lora = model.lora
    if lora.targets is None:
        lora = lora.model_copy(update={"targets": family.spec.adapters.targets})
    return model.model_copy(update={"options": options.model_dump(), "lora": lora})
