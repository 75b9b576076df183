"""Which other geometries a probe measures, and how: ``--geometries``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.cli.setup import load_plan
from marblecli.conflicts.pass_value import OtherGeometry, PassValue, value_between_batches
from marblecli.errors import BadInputError
from marblecli.maths.passes import step_passes
from marblecli.progress import work
from marblecli.report.render import log
from marblecli.settings import LevelSettings, Recipe

if TYPE_CHECKING:
    from marblecli.train.sampler import Sampler

Recipes = Mapping[tuple[str, ...], Recipe]
"""The recipe of each geometry by its overrides."""

_NOISY = LevelSettings(draw="uniform", low=0.8)
"""The levels at which most of the signal was found on the tiny model; see docs/performance.md."""
_CHANGED = ("sampling.steps", "training.")
"""What a geometry may change: anything else changes more than the passes and the levels."""


def usual_geometries(recipe: Recipe) -> list[tuple[str, ...]]:
    """Overrides of the geometries that are worth a try, without the recipe's own one."""
    steps, rows, levels = (
        recipe.sampling.steps,
        recipe.training.noise_levels,
        recipe.training.levels,
    )
    tried = [
        (steps, rows, _NOISY),
        (8, 4, levels),
        (8, 2, _NOISY),
        (8, 4, _NOISY),
        (8, 8, _NOISY),
        (12, 4, _NOISY),
    ]
    overrides = [tuple(_overrides(recipe, *each)) for each in tried]
    return [each for each in dict.fromkeys(overrides) if each]


def named_geometry(text: str) -> tuple[str, ...]:
    """The overrides of ``KEY=VALUE,KEY=VALUE``. Raises BadInputError for a key of another kind."""
    overrides = tuple(part.strip() for part in text.split(","))
    for each in overrides:
        if not each.startswith(_CHANGED) or "=" not in each:
            raise BadInputError(
                f"--geometry {text}: expected KEY=VALUE[,KEY=VALUE...] of sampling.steps and "
                f"training, as in sampling.steps=8,training.noise_levels=4; got {each!r}"
            )
    return overrides


def geometry_recipes(
    path: Path, base: Sequence[str], geometries: Sequence[tuple[str, ...]]
) -> Recipes:
    """The checked recipe of each geometry. Raises BadInputError for one that can't be used."""
    return {
        each: load_plan(path, [*base, *each], quiet=True).recipe
        for each in dict.fromkeys(geometries)
    }


def measure_value(sampler: Sampler, recipe: Recipe, batches: int) -> PassValue:
    """What a pass buys with the geometry of ``recipe``, which the sampler's model runs."""
    from marblecli.train.probe import batch_signals

    vectors = []
    with work("measuring", batches, "batches") as advance:
        for signal in batch_signals(sampler, recipe, batches):
            vectors.append(signal)
            advance(1)
    return value_between_batches(tuple(recipe.rewards), vectors, step_passes(recipe))


def measure_geometries(
    sampler: Sampler, recipes: Recipes, own: PassValue
) -> Iterator[OtherGeometry]:
    """Measure each geometry on as many batches as ``own``, and compare."""
    for number, (overrides, recipe) in enumerate(recipes.items(), 1):
        value = measure_value(sampler, recipe, own.batches)
        log.print(f"geometry {number}/{len(recipes)}  {' '.join(overrides)}", markup=False)
        yield OtherGeometry(overrides, value, *value.times(own))


def _overrides(recipe: Recipe, steps: int, rows: int, levels: LevelSettings) -> Iterator[str]:
    if steps != recipe.sampling.steps:
        yield f"sampling.steps={steps}"
    if rows != recipe.training.noise_levels:
        yield f"training.noise_levels={rows}"
    own = recipe.training.levels
    for field in LevelSettings.model_fields:
        value = getattr(levels, field)
        if value != getattr(own, field):
            text = str(value).lower() if isinstance(value, bool) else str(value)
            yield f"training.levels.{field}={text}"
