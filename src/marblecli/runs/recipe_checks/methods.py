"""The methods of ``[balance]``, their own options, and what they need of the measurement."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from marblecli.errors import BadInputError, Problem
from marblecli.methods.checks import balance_problems
from marblecli.methods.host import find_method
from marblecli.methods.method import MethodSpec
from marblecli.settings import Recipe


def check_methods(recipe: Recipe) -> Iterator[Problem]:
    """One problem for each unknown method, option or reward, and for what isn't installed."""
    yield from balance_problems(recipe.balance, list(recipe.rewards))


def check_parts(recipe: Recipe) -> Iterator[Problem]:
    """A problem for each method that needs the gradients in parts where none are measured."""
    if recipe.measure.parts and recipe.training.gradients == "contracted":
        return
    for spec in _methods(recipe):
        if spec.needs.parts:
            message = f"the method {spec.name} needs measure.parts = true and contracted gradients"
            yield Problem("measure.parts", message)


def check_scale(recipe: Recipe) -> Iterator[Problem]:
    """A problem for each method that needs one scale for all advantages of a reward."""
    if recipe.training.advantage_scale == "batch":
        return
    for spec in _methods(recipe):
        if spec.needs.batch_scale:
            message = f'the method {spec.name} needs "batch"'
            yield Problem("training.advantage_scale", message)


def _methods(recipe: Recipe) -> Iterator[MethodSpec]:
    balance = recipe.balance
    for name in dict.fromkeys((*(phase.method for phase in balance.phases), balance.method)):
        # An unknown method has been found already.
        with suppress(BadInputError):
            yield find_method(name)
