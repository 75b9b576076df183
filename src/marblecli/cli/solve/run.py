"""What ``marble solve`` does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from marblecli.cli.method_text import parse_method
from marblecli.conflicts.replay import SeenBatch, replay
from marblecli.conflicts.vectors import direction_cosines
from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.maths.qp.problem import check_floors, check_gram, check_priorities
from marblecli.methods.checks import balance_problems
from marblecli.methods.host import find_method
from marblecli.methods.schedule import MethodSchedule
from marblecli.report.solve_output import show_batches, show_single
from marblecli.report.solved import Failed, Method, Solved
from marblecli.runs.gram_batches import GramBatch, is_many, read_gram_batches
from marblecli.settings import BalanceSettings
from marblecli.types import Balance, GradientStats

if TYPE_CHECKING:
    from marblecli.maths.qp.problem import MinNormSolution
    from marblecli.types import FloatArray


@dataclass(frozen=True)
class SolveOptions:
    """What the user asked for; every ``NAME=VALUE`` may be one number for all."""

    method: str = "marble"
    solver: str | None = None
    """None for what the method says."""
    floors: tuple[str, ...] = ()
    priorities: tuple[str, ...] = ()
    weights: tuple[str, ...] = ()
    what_ifs: tuple[str, ...] = ()
    """Other methods to compare with."""


def solve_file(path: Path, options: SolveOptions, *, as_json: bool) -> None:
    """Read, solve, print. Raises BadInputError for anything unusable in file or options."""
    batches = [_checked(batch, path) for batch in read_gram_batches(path)]
    names = tuple(dict.fromkeys(name for batch in batches for name in batch.stats.names))
    weights = dict(zip(names, parse_numbers("--weight", options.weights, names, 1.0), strict=True))
    main = Method(options.method, _solve_all(batches, _settings(options, names), weights))
    what_ifs = [
        Method(text, _solve_all(batches, _parse(text), weights))
        for text in dict.fromkeys(options.what_ifs)
    ]
    if is_many(path):
        show_batches([batch.name for batch in batches], names, main, what_ifs, as_json=as_json)
    else:
        show_single(
            _single(main, path), [_single(each, path) for each in what_ifs], as_json=as_json
        )


def _single(method: Method, path: Path) -> tuple[str, Solved]:
    """The method's name and its only solution."""
    (solved,) = method.batches
    if isinstance(solved, Failed):
        raise BadInputError(f"{path}: {method.name}: {solved.reason}")
    return method.name, solved


def _checked(batch: GramBatch, path: Path) -> GramBatch:
    stats = batch.stats
    place = f"{path / batch.name}" if path.is_dir() else f"{path}"
    try:
        gram = check_gram(stats.gram)
    except BadInputError as error:
        raise BadInputError(f"{place}: {error}") from error
    if not (stats.usable.any() or is_many(path)):
        raise BadInputError(f"{place}: every gradient is zero: {', '.join(stats.names)}")
    return GramBatch(batch.name, batch.step, GradientStats(stats.names, gram, stats.usable))


def _settings(options: SolveOptions, names: Sequence[str]) -> BalanceSettings:
    """Those of the main method, with what the other options add."""
    settings = _parse(options.method)
    changed: dict[str, object] = {}
    if options.solver is not None:
        changed["solver"] = options.solver
    if options.floors:
        floors = parse_numbers("--floor", options.floors, names, 0.0)
        changed["floors"] = _by_name(names, check_floors(floors, len(names)))
    if options.priorities:
        priorities = parse_numbers("--priority", options.priorities, names, 1.0)
        check_priorities(priorities, len(names))
        changed["priorities"] = _by_name(names, priorities)
    settings = settings.model_copy(update={"options": {**settings.options, **changed}})
    for problem in balance_problems(settings, names, prefix=""):
        raise BadInputError(str(problem))
    return settings


def _parse(text: str) -> BalanceSettings:
    settings = parse_method(text)
    if settings.gram != "whole":
        raise BadInputError(
            f"{text}: a Gram doesn't tell the signal from the rest; on a run's measured batches "
            "`marble inspect-conflicts RUN_DIR --method` does"
        )
    needs = find_method(settings.method).needs
    if needs.signal:
        raise BadInputError(
            f"{text}: it needs the signal that many batches share, which a Gram doesn't hold; on a "
            f"run that was trained by it, `marble inspect-conflicts RUN_DIR --method {text}` does"
        )
    if needs.scores:
        raise BadInputError(
            f"{text}: it needs the batch's scores, which a Gram doesn't hold; on a run's measured "
            f"batches `marble inspect-conflicts RUN_DIR --method {text}` does"
        )
    return settings


def _by_name(names: Sequence[str], values: FloatArray) -> dict[str, float]:
    return dict(zip(names, values.tolist(), strict=True))


def _solve_all(
    batches: Sequence[GramBatch], settings: BalanceSettings, weights: dict[str, float]
) -> tuple[Solved | Failed, ...]:
    chosen = replay(settings, weights, (SeenBatch(each.step, each.stats) for each in batches))
    return tuple(
        Failed(str(found))
        if isinstance(found, MarbleError)
        else Solved(
            stats=batch.stats,
            balance=found,
            cosines=direction_cosines(batch.stats.gram, found.coefficients),
            certificate=_certificate(batch.stats, found, settings),
        )
        for batch, found in zip(batches, chosen, strict=True)
    )


def _certificate(
    stats: GradientStats, chosen: Balance, settings: BalanceSettings
) -> MinNormSolution | None:
    """Of a method that solves a QP on this Gram alone."""
    schedule = MethodSchedule.of(settings)
    if settings.phases or schedule.smoothing.changes:
        return None
    return schedule.certify(stats, chosen)


def parse_numbers(
    option: str, items: Sequence[str], names: Sequence[str], default: float
) -> FloatArray:
    """[K] from ``NAME=VALUE`` items; a bare number is the default of all the others.

    Raises BadInputError for an unknown name, or a value that is no finite number of at least 0.
    """
    numbers: dict[str, float] = {}
    for item in items:
        name, equals, text = item.rpartition("=")
        if equals and name not in names:
            hint = did_you_mean(name, names)
            raise BadInputError(
                f"{option} {item}: no reward is called {name!r}{hint}; there are: {one_of(names)}"
            )
        value = _number(option, item, text)
        if equals:
            numbers[name] = value
        else:
            default = value
    return np.array([numbers.get(name, default) for name in names])


def _number(option: str, item: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not (np.isfinite(value) and value >= 0.0):
        raise BadInputError(
            f"{option} {item}: expected NAME=VALUE or one number, finite and at least 0"
        )
    return value
