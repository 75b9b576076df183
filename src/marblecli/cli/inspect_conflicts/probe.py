"""Run ``marble inspect-conflicts RECIPE``: probe a model without training it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.cli.inspect_conflicts.geometries import (
    Recipes,
    geometry_recipes,
    measure_geometries,
    measure_value,
    named_geometry,
    usual_geometries,
)
from marblecli.cli.inspect_conflicts.run import (
    Inspected,
    InspectOptions,
    make_directions,
    present,
)
from marblecli.cli.progress import showing_work
from marblecli.cli.setup import Plan, build_suite, load_plan
from marblecli.conflicts.pass_value import (
    LEAST_BATCHES,
    StepValue,
    mean_squared_ratio,
    value_between_batches,
)
from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.maths.passes import step_passes
from marblecli.models.quiet import quiet_libraries
from marblecli.progress import work
from marblecli.report.render import log
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.pages import CONFLICTS_FILE, check_page
from marblecli.runs.recorder import RunRecorder
from marblecli.runs.run_balance import RunBalance

if TYPE_CHECKING:
    from marblecli.train.probe import ProbedBatch
    from marblecli.train.sampler import Sampler

DEFAULT_BATCHES = 8

_ALWAYS = ("tracking.log_with=[]",)
_UNLESS_SET = ("measure.slices_every=1",)
"""A probe has few batches, so each of them is also measured by prompt source and noise level."""


@dataclass(frozen=True)
class ProbeOptions:
    """What the user asked for."""

    batches: int = DEFAULT_BATCHES
    overrides: tuple[str, ...] = ()
    """``key=value`` items."""
    keep: Path | None = None
    """The run directory to write; if None, nothing is written."""
    geometries: tuple[str, ...] = ()
    """Other geometries to measure, each ``key=value,key=value``."""
    usual_geometries: bool = False
    """Measure the usual ones, too."""


@dataclass(frozen=True)
class _Probed:
    """What was measured."""

    records: Sequence[ConflictRecord]
    value: StepValue | None


def probe_recipe(
    recipe: Path, request: ProbeOptions, options: InspectOptions, *, default_html: bool = False
) -> None:
    """Measure batches of the recipe's model, and print what ``inspect_run`` prints of a run.

    With ``default_html``, the page is written into the run directory if ``options`` name no file.
    Raises BadInputError for an unusable recipe, method or file.
    """
    quiet_libraries()
    overrides = [*_UNLESS_SET, *request.overrides, *_ALWAYS]
    plan = load_plan(recipe, overrides)
    others = _other_recipes(recipe, plan, overrides, request)
    settings = plan.recipe.balance
    weights = {name: reward.weight for name, reward in plan.recipe.rewards.items()}
    directions = make_directions(RunBalance(settings, weights), options.methods)
    html = options.html
    if default_html and html is None:
        if request.keep is None:
            raise BadInputError("--html needs the FILE to write, or --out DIR to hold it")
        html = request.keep / CONFLICTS_FILE
    if options.html is not None:
        check_page(options.html)
    recorder = None if request.keep is None else RunRecorder.create(request.keep, plan.recipe)
    with showing_work():
        probed = _measured(plan, request.batches, others, recorder)
    recorded = [each for each in directions if each.name != "update"]
    subject = Inspected(probed.records, recorded, f"{recipe}, untrained", probed.value)
    present(subject, options, html)
    if recorder is not None:
        log.print(f"run directory: {recorder.run.directory}", markup=False, soft_wrap=True)


def _other_recipes(
    recipe: Path, plan: Plan, overrides: Sequence[str], request: ProbeOptions
) -> Recipes:
    """The recipes of the geometries that were asked for, by their overrides."""
    usual = usual_geometries(plan.recipe) if request.usual_geometries else []
    named = [named_geometry(text) for text in request.geometries]
    if (usual or named) and request.batches < LEAST_BATCHES:
        raise BadInputError(
            f"geometries are compared over at least {LEAST_BATCHES} batches, got "
            f"--batches {request.batches}"
        )
    return geometry_recipes(recipe, overrides, [*usual, *named])


def _measured(plan: Plan, batches: int, others: Recipes, recorder: RunRecorder | None) -> _Probed:
    from marblecli.train.probe import probed_texts
    from marblecli.train.sampler import PromptSets, open_sampler

    with work("loading the model"):
        # Other geometries draw the same prompts.
        texts = probed_texts(plan.recipe, plan.train_prompts, batches)
        sampler = open_sampler(
            plan.recipe,
            PromptSets(plan.train_prompts),
            partial(build_suite, plan),
            texts=texts,
            open_store=EmbeddingCache,
        )
    with sampler.suite:
        probed = _batches(sampler, batches, recorder)
        records = [each.record for each in probed]
        return _Probed(records, _value(sampler, probed, others))


def _batches(sampler: Sampler, batches: int, recorder: RunRecorder | None) -> list[ProbedBatch]:
    from marblecli.train.probe import probe

    found = []
    with work("measuring", batches, "batches") as advance:
        started = time.perf_counter()
        for probed in probe(sampler, batches):
            found.append(probed)
            advance(1)
            if recorder is not None:
                recorder.conflict(probed.record)
            seconds = time.perf_counter() - started
            log.print(f"batch {len(found)}/{batches}  {seconds:.1f} s", markup=False)
            for notice in probed.notices:
                log.print(notice, markup=False, soft_wrap=True)
            for fault in probed.faults:
                log.print(f"fault: {fault}", markup=False)
    return found


def _value(sampler: Sampler, probed: Sequence[ProbedBatch], others: Recipes) -> StepValue | None:
    """What a step buys; None if that wasn't measured, and nothing is to be compared with it."""
    recipe = sampler.recipe
    signals = [each.signal for each in probed if each.signal is not None]
    if len(probed) < LEAST_BATCHES:
        return None
    if len(signals) == len(probed):
        own = value_between_batches(probed[-1].record.rewards, signals, step_passes(recipe))
    elif others:
        own = measure_value(sampler, recipe, len(probed))
    else:
        return None
    levels = dict.fromkeys(name for each in probed for name in each.level_signals)
    return StepValue(
        own,
        images=recipe.sampling.prompts_per_step * recipe.sampling.group_size,
        by_level={
            name: mean_squared_ratio([each.level_signals[name] for each in probed])
            for name in levels
        },
        others=tuple(measure_geometries(sampler, others, own)),
        comparable=True,
    )
