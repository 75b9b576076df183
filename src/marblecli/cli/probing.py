"""What ``marble inspect-conflicts RECIPE`` does: probe a model that nothing has trained yet."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from marblecli.cli.inspecting import InspectOptions, make_directions, present
from marblecli.cli.setup import Plan, build_suite, load_plan
from marblecli.errors import BadInputError
from marblecli.methods.balance import check_available
from marblecli.models.quiet import quiet_libraries
from marblecli.report.page import FILE_NAME
from marblecli.report.render import log
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.environment import describe_environment
from marblecli.runs.recipe import dump_recipe
from marblecli.runs.run_balance import RunBalance
from marblecli.runs.store import RunStore
from marblecli.types import ConflictRecord

DEFAULT_BATCHES = 8

_ALWAYS = ("tracking.log_with=[]",)
_UNLESS_SET = ("measure.slices_every=1",)
"""A probe is short: every batch is measured by prompt source and noise level."""


@dataclass(frozen=True)
class ProbeOptions:
    """What the user asked for."""

    batches: int = DEFAULT_BATCHES
    overrides: tuple[str, ...] = ()
    """``key=value`` items."""
    keep: Path | None = None
    """A run directory to write; nothing is written without."""


def probe_recipe(
    recipe: Path, request: ProbeOptions, options: InspectOptions, *, default_html: bool = False
) -> None:
    """Measure batches of the recipe's model, judge them and print; see ``inspect_run``."""
    quiet_libraries()
    plan = load_plan(recipe, [*_UNLESS_SET, *request.overrides, *_ALWAYS])
    settings = plan.recipe.balance
    check_available(settings)
    weights = {name: reward.weight for name, reward in plan.recipe.rewards.items()}
    directions = make_directions(RunBalance(settings, weights), options.balancers)
    html = options.html
    if default_html and html is None:
        if request.keep is None:
            raise BadInputError("--html needs the FILE to write, or --out DIR to hold it")
        html = request.keep / FILE_NAME
    store = None if request.keep is None else _create(request.keep, plan)
    records = _probe(plan, request.batches, store)
    recorded = [each for each in directions if each.name != "update"]
    present(records, recorded, options, f"{recipe}, untrained", html)
    if store is not None:
        log.print(f"run directory: {store.directory}", markup=False, soft_wrap=True)


def _create(directory: Path, plan: Plan) -> RunStore:
    return RunStore.create(directory, dump_recipe(plan.recipe), describe_environment())


def _probe(plan: Plan, batches: int, store: RunStore | None) -> Sequence[ConflictRecord]:
    from marblecli.train.probe import probe, probed_texts
    from marblecli.train.sampler import PromptSets, open_sampler

    with log.status("loading the model"):
        texts = probed_texts(plan.recipe, plan.train_prompts, batches)
        sampler = open_sampler(
            plan.recipe,
            PromptSets(plan.train_prompts),
            partial(build_suite, plan),
            texts=texts,
            open_store=EmbeddingCache,
        )
    records = []
    with sampler.suite:
        started = time.perf_counter()
        for probed in probe(sampler, batches):
            records.append(probed.record)
            if store is not None:
                store.conflict(probed.record)
            seconds = time.perf_counter() - started
            log.print(f"batch {len(records)}/{batches}  {seconds:.1f} s", markup=False)
            for notice in probed.notices:
                log.print(notice, markup=False, soft_wrap=True)
            for fault in probed.faults:
                log.print(f"fault: {fault}", markup=False)
    return records
