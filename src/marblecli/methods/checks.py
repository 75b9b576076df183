"""What is wrong with a recipe's ``[balance]``: its methods, their options and their rewards."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from typing import Any

from pydantic import BaseModel, ValidationError

from marblecli.errors import BadInputError, Problem, did_you_mean, one_of, validation_problems
from marblecli.methods.host import discover_methods, find_method
from marblecli.methods.method import MethodSpec
from marblecli.settings import OWN_BALANCE_KEYS, BalanceSettings


def balance_problems(
    settings: BalanceSettings, rewards: Collection[str] | None = None, prefix: str = "balance."
) -> list[Problem]:
    """Everything that is wrong, at dotted keys that start with ``prefix``.

    Keys of ``[balance]`` that marble doesn't know serve every method that is named there, those of
    the phases included; keys of a phase serve its method alone. ``rewards`` are the recipe's; where
    they aren't known, the rewards that options name aren't checked.
    """
    places = [
        (f"{prefix}phases.{i}.", one.method, one.options) for i, one in enumerate(settings.phases)
    ]
    places.append((prefix, settings.method, settings.options))
    named, problems = [], []
    for place, name, _ in places:
        try:
            named.append(find_method(name))
        except BadInputError as error:
            problems.append(Problem(f"{place}method", str(error)))
    if problems:
        return problems
    problems += _unknown(settings.options, named, prefix)
    for (place, _, own), spec in zip(places, named, strict=True):
        if place != prefix:
            problems += _unknown(own, [spec], place)
        problems += _option_problems(spec, {**settings.options, **own}, rewards, place)
    return list({(each.key, each.message): each for each in problems}.values())


def method_options(spec: MethodSpec, options: Mapping[str, Any]) -> BaseModel:
    """The options that are the method's own, validated; the others are left to other methods.

    Raises BadInputError, one line a problem.
    """
    known = _known(spec, options)
    try:
        return spec.options.model_validate(known)
    except ValidationError as error:
        problems = validation_problems(error, spec.options)
        lines = (f"the method {spec.name}: {problem}" for problem in problems)
        raise BadInputError("\n".join(lines)) from error


def resolved(settings: BalanceSettings) -> BalanceSettings:
    """The same with every option of the methods written out, and no other.

    Two recipes that ask for the same balance are equal then. The settings must have no problems.
    """
    phases = [
        phase.model_copy(update={"options": _written_out(find_method(phase.method), phase.options)})
        if phase.options
        else phase
        for phase in settings.phases
    ]
    names = (*(phase.method for phase in settings.phases), settings.method)
    named = [find_method(name) for name in names]
    options: dict[str, Any] = {}
    for spec in named:
        # A phase may have what the table lacks.
        with suppress(BadInputError):
            options |= _written_out(spec, settings.options)
    return settings.model_copy(update={"phases": tuple(phases), "options": options})


def _written_out(spec: MethodSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    return method_options(spec, options).model_dump()


def check_available(settings: BalanceSettings) -> None:
    """Raise BadInputError for the first thing that is wrong, or a library that isn't installed."""
    for problem in balance_problems(settings, prefix=""):
        raise BadInputError(str(problem))


def _known(spec: MethodSpec, options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in options.items() if key in spec.options.model_fields}


def _option_problems(
    spec: MethodSpec, options: Mapping[str, Any], rewards: Collection[str] | None, place: str
) -> Iterator[Problem]:
    try:
        validated = spec.options.model_validate(_known(spec, options))
    except ValidationError as error:
        yield from validation_problems(error, spec.options, place)
        return
    if rewards is not None:
        for key, names in spec.named_rewards(validated).items():
            for name in sorted(set(names) - set(rewards)):
                hint = did_you_mean(name, rewards)
                message = f"no reward {name!r}{hint}; choose from {one_of(rewards)}"
                yield Problem(f"{place}{key}", message)
    try:
        spec.check(validated)
    except BadInputError as error:
        yield Problem(f"{place}method", str(error))


def _unknown(
    options: Mapping[str, Any], named: Collection[MethodSpec], place: str
) -> Iterator[Problem]:
    """Keys that none of the methods knows, with the nearest valid one or the method that has it."""
    known = {key for spec in named for key in spec.options.model_fields}
    for key, value in options.items():
        if key in known:
            continue
        methods = " and ".join(sorted({spec.name for spec in named}))
        if takers := discover_methods().with_option(key):
            if all(value == spec.options.model_fields[key].default for spec in takers):
                continue  # Recipes were once written out with the defaults of every method.
            names = one_of(spec.name for spec in takers)
            message = f"only the method {names} takes {key}, not {methods}"
        else:
            choices = sorted(known | OWN_BALANCE_KEYS)
            hint = did_you_mean(key, choices) or f"; choose from {one_of(choices)}"
            message = f"unknown key{hint}"
        yield Problem(f"{place}{key}", message)
