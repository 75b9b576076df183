"""Run ``marble inspect-conflicts RECIPE``: probe a model without training it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from marblecli.cli.inspect_conflicts.run import InspectOptions, make_directions, present
from marblecli.cli.progress import showing_work
from marblecli.cli.setup import Plan, build_suite, load_plan
from marblecli.conflicts.record import ConflictRecord
from marblecli.errors import BadInputError
from marblecli.models.quiet import quiet_libraries
from marblecli.progress import work
from marblecli.report.render import log
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.pages import CONFLICTS_FILE, check_page
from marblecli.runs.recorder import RunRecorder
from marblecli.runs.run_balance import RunBalance

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


def probe_recipe(
    recipe: Path, request: ProbeOptions, options: InspectOptions, *, default_html: bool = False
) -> None:
    """Measure batches of the recipe's model, and print what ``inspect_run`` prints of a run.

    With ``default_html``, the page is written into the run directory if ``options`` name no file.
    Raises BadInputError for an unusable recipe, method or file.
    """
    quiet_libraries()
    plan = load_plan(recipe, [*_UNLESS_SET, *request.overrides, *_ALWAYS])
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
    records = _probe(plan, request.batches, recorder)
    recorded = [each for each in directions if each.name != "update"]
    present(records, recorded, options, f"{recipe}, untrained", html)
    if recorder is not None:
        log.print(f"run directory: {recorder.run.directory}", markup=False, soft_wrap=True)


def _probe(plan: Plan, batches: int, recorder: RunRecorder | None) -> Sequence[ConflictRecord]:
    with showing_work():
        return _measured(plan, batches, recorder)


def _measured(plan: Plan, batches: int, recorder: RunRecorder | None) -> Sequence[ConflictRecord]:
    from marblecli.train.probe import probe, probed_texts
    from marblecli.train.sampler import PromptSets, open_sampler

    with work("loading the model"):
        texts = probed_texts(plan.recipe, plan.train_prompts, batches)
        sampler = open_sampler(
            plan.recipe,
            PromptSets(plan.train_prompts),
            partial(build_suite, plan),
            texts=texts,
            open_store=EmbeddingCache,
        )
    records = []
    with sampler.suite, work("measuring", batches, "batches") as advance:
        started = time.perf_counter()
        for probed in probe(sampler, batches):
            records.append(probed.record)
            advance(1)
            if recorder is not None:
                recorder.conflict(probed.record)
            seconds = time.perf_counter() - started
            log.print(f"batch {len(records)}/{batches}  {seconds:.1f} s", markup=False)
            for notice in probed.notices:
                log.print(notice, markup=False, soft_wrap=True)
            for fault in probed.faults:
                log.print(f"fault: {fault}", markup=False)
    return records
