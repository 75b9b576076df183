"""What may be changed when a run is resumed, and what the run's own recipe is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from marblecli.cli.setup import Plan, load_plan
from marblecli.errors import BadInputError
from marblecli.methods import checks
from marblecli.report.render import tell
from marblecli.runs.recipe import recipe_table
from marblecli.runs.run import Run
from marblecli.settings import Recipe
from marblecli.types import Json

_FREE_TO_CHANGE = (
    "training.steps",
    "training.learning_rate",
    "training.schedule",
    "training.warmup_steps",
    "eval",
    "checkpoint",
    "tracking",
)
"""What doesn't change the past: the steps to come, and what the run reports and saves."""
_HOW_COMPUTED = (
    "model.gradient_checkpointing",
    "model.compile",
    "model.embedding_cache",
    "model.shard",
    "model.offload",
    "training.ema_on_cpu",
)
"""These may be changed, too: they change only memory, speed and rounding."""
_WHERE_SCORED = re.compile(r"rewards\.[^.]+\.(timeout|batch_size|device)")
"""And so may these, which say where rewards are scored."""

Changes = Mapping[str, tuple[Json, Json]]
"""By dotted key, the value that the run has had, and the new one; None for a key that is absent."""


def own_plan(run_dir: Path, overrides: Sequence[str], *, quiet: bool = False) -> Plan:
    """The plan of the run's own recipe, with ``overrides``; it isn't checked what they change."""
    return load_plan(Run.open(run_dir).recipe_file, overrides, quiet=quiet)


def keep_own_recipe(
    given: Plan, run_dir: Path, overrides: Sequence[str], *, quiet: bool = False
) -> Plan:
    """The plan of the run's own recipe, after a line about each difference to the recipe ``given``.

    Raises BadInputError if it differs in what can't be changed.
    """
    own = own_plan(run_dir, overrides, quiet=True)
    found = _allowed(own.recipe, given.recipe, run_dir)
    for key, (kept, other) in ({} if quiet else found).items():
        tell(
            f"{key}: the run's own recipe says {_shown(kept)}, which is kept, and the one given "
            f"says {_shown(other)}; to change it: --set {key}={_shown(other)}"
        )
    return own


def changes_of(run: Run, plan: Plan) -> Changes:
    """How the plan's recipe differs from the run's. Raises BadInputError for what can't differ."""
    earlier = run.recipe(plan.catalog.check_options)
    earlier = earlier.model_copy(update={"balance": checks.resolved(earlier.balance)})
    return _allowed(earlier, plan.recipe, run.directory)


def evaluations_differ(changes: Changes) -> bool:
    """Whether new evaluations can't be compared with those that the run has."""
    return any(key.startswith("eval") and key != "eval.every" for key in changes)


def _allowed(earlier: Recipe, later: Recipe, run_dir: Path) -> Changes:
    found = differences(recipe_table(earlier), recipe_table(later))
    refused = [key for key in found if not _may_change(key)]
    if refused:
        raise BadInputError(
            f"{run_dir} was started with another {', '.join(refused)}; set it back, or start a new "
            f"run with another --run-dir: the steps that were made depend on it. A resumed run may "
            f"change {', '.join(_FREE_TO_CHANGE)}, and what changes only memory and speed"
        )
    return found


def _may_change(key: str) -> bool:
    return bool(
        key.startswith(_FREE_TO_CHANGE) or key in _HOW_COMPUTED or _WHERE_SCORED.fullmatch(key)
    )


def differences(one: object, two: object, prefix: str = "") -> dict[str, tuple[Json, Json]]:
    """The dotted keys at which two nested mappings differ, with both values."""
    if not (isinstance(one, Mapping) and isinstance(two, Mapping)):
        return {} if one == two else {prefix: (one, two)}
    keys = dict.fromkeys((*one, *two))
    found: dict[str, tuple[Json, Json]] = {}
    for key in keys:
        found |= differences(one.get(key), two.get(key), f"{prefix}.{key}".lstrip("."))
    return found


def _shown(value: Json) -> str:
    """As it is given to ``--set``."""
    if value is None:
        return "nothing"
    return str(value).lower() if isinstance(value, bool) else str(value)
