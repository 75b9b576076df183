"""What ``marble train`` does once its recipe is checked."""

from __future__ import annotations

import re
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import FrameType

from marblecli.cli.live import LiveProgress
from marblecli.cli.render import out
from marblecli.cli.setup import Plan, build_suite
from marblecli.cli.summary import changes_table
from marblecli.errors import BadInputError
from marblecli.runs.environment import describe_environment
from marblecli.runs.recipe import dump_recipe, load_recipe
from marblecli.runs.store import RunStore
from marblecli.train.quiet import quiet_libraries
from marblecli.types import RewardChange, Snapshot

_FREE_TO_CHANGE = ("training.steps", "eval", "checkpoint", "tracking")
"""What a resumed run may set anew: how long, and what it tells; the rest would be another run."""
_WHERE_SCORED = re.compile(r"rewards\.[^.]+\.(timeout|batch_size|device)")
"""And where its rewards are scored."""


def run_training(plan: Plan, run_dir: Path | None, resume: bool) -> None:
    """Train, show progress, and end with what every reward did and the next command."""
    quiet_libraries()
    store, saved = _resume(plan, run_dir) if resume else (_create(plan, run_dir), None)
    out.print(f"run directory: {store.directory}", highlight=False, soft_wrap=True)
    changes = _train(plan, store, saved)
    for split, found in changes.items():
        out.print(changes_table(split, found))
    out.print(f"run directory: {store.directory}", highlight=False, soft_wrap=True)
    out.print(f"next: marble inspect-conflicts {store.directory}", highlight=False, soft_wrap=True)


def _create(plan: Plan, run_dir: Path | None) -> RunStore:
    name = plan.recipe.run.name
    directory = run_dir or Path("runs") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    return RunStore.create(
        directory,
        dump_recipe(plan.recipe),
        describe_environment(),
        keep_last=plan.recipe.checkpoint.keep_last,
    )


def _resume(plan: Plan, run_dir: Path | None) -> tuple[RunStore, Snapshot]:
    if run_dir is None:
        raise BadInputError("--resume needs --run-dir, the directory of the run to continue")
    store = RunStore.open(run_dir, plan.recipe.checkpoint.keep_last)
    earlier = load_recipe(run_dir / "recipe.toml", [], plan.catalog.check_options)
    changed = [
        key
        for key in _differences(earlier.model_dump(), plan.recipe.model_dump())
        if not (key.startswith(_FREE_TO_CHANGE) or _WHERE_SCORED.fullmatch(key))
    ]
    if changed:
        raise BadInputError(
            f"{run_dir} was started with another {', '.join(changed)}; set it back, or start a new "
            "run with another --run-dir"
        )
    saved = store.load_checkpoint(store.latest_checkpoint())
    store.rewind(saved.step)
    return store, saved


def _differences(one: object, two: object, prefix: str = "") -> list[str]:
    """Dotted keys at which two nested mappings differ."""
    if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
        return [] if one == two else [prefix]
    keys = dict.fromkeys((*one, *two))
    return [
        found
        for key in keys
        for found in _differences(one.get(key), two.get(key), f"{prefix}.{key}".lstrip("."))
    ]


def _train(
    plan: Plan, store: RunStore, saved: Snapshot | None
) -> Mapping[str, tuple[RewardChange, ...]]:
    from marblecli.train.loop import Hooks, train
    from marblecli.train.session import PromptSets, evaluation_prompts, open_session

    settings = plan.recipe.eval
    evaluation = {
        "train": evaluation_prompts(plan.train_prompts, settings.train_prompts),
        "held-out": evaluation_prompts(plan.held_out_prompts, settings.held_out_prompts),
    }
    prompts = PromptSets(
        plan.train_prompts, {split: chosen for split, chosen in evaluation.items() if chosen}
    )
    with out.status("loading the model"):
        session = open_session(plan.recipe, prompts, partial(build_suite, plan), store.directory)
    progress = LiveProgress(tuple(plan.recipe.rewards), plan.recipe.training.steps)
    session.accelerator.init_trackers(plan.recipe.run.name)
    with session.suite, _stop_on_signal() as should_stop, progress:
        hooks = Hooks(store, progress.on_step, progress.on_evaluation, should_stop)
        outcome = train(session, hooks, saved)
    session.accelerator.end_training()
    return outcome.changes


@contextmanager
def _stop_on_signal() -> Iterator[Callable[[], bool]]:
    """The first Ctrl-C or SIGTERM asks the loop to save and stop; the second stops at once."""
    asked: list[int] = []

    def ask(number: int, _frame: FrameType | None) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)
        out.print("stopping after this step; its checkpoint will be saved (again to stop at once)")

    previous = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
