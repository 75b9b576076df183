"""What is wrong with a recipe's model, before a weight loads: all faults at once."""

from __future__ import annotations

from functools import partial

from marblecli.errors import BadInputError, Problem
from marblecli.models.architectures import Architecture
from marblecli.models.options import option_problems
from marblecli.models.supported import Examined, examine_model
from marblecli.settings import ModelSettings


def model_problems(model: ModelSettings, resolution: int | None = None) -> list[Problem]:
    """The faults of ``[model]``, and of the images' side in pixels where it is given.

    What the model's configurations say can't be held against the recipe where they can't be read.
    """
    try:
        examined = examine_model(model)
    except BadInputError as error:
        return [Problem("model.pretrained", str(error))]
    found = option_problems(examined.family, model)
    if not found and resolution is not None:
        found += _side_problems(examined, model, resolution)
    return found + _target_problems(examined, model)


def _side_problems(examined: Examined, model: ModelSettings, resolution: int) -> list[Problem]:
    architecture = examined.architecture
    if not isinstance(architecture, Architecture):
        return []
    fault = examined.family.limits(architecture, model).side_fault(resolution)
    return [Problem("sampling.resolution", fault)] if fault else []


def _target_problems(examined: Examined, model: ModelSettings) -> list[Problem]:
    architecture, targets = examined.architecture, model.lora.targets
    # The family's own targets need no check, so that a usual recipe is checked without torch.
    rules = examined.family.spec.adapters
    if targets is None or targets in ("all-linear", rules.targets):
        return []
    if model.mode != "lora" or not isinstance(architecture, Architecture):
        return []
    from marblecli.models.random import empty_part
    from marblecli.models.targets import target_faults

    config = architecture.parts["transformer"]
    network = empty_part(partial(examined.family.build, "transformer", config))
    return [
        Problem("model.lora.targets", fault) for fault in target_faults(network, targets, rules)
    ]
