"""How a run was balanced, from the recipe that its directory holds."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from marblecli.errors import BadInputError
from marblecli.methods.checks import balance_problems
from marblecli.settings import BalanceSettings


@dataclass(frozen=True)
class RunBalance:
    """What a recipe says of the balance; the rest of it may be of another version or place."""

    settings: BalanceSettings
    loss_weights: Mapping[str, float]
    """By reward; for the method ``weighted-sum``."""


def read_run_balance(run_dir: Path) -> RunBalance | None:
    """From ``recipe.toml``; None if there is none.

    Raises BadInputError if it can't be read, or its balance isn't one that this version knows.
    """
    path = run_dir / "recipe.toml"
    if not path.is_file():
        return None
    try:
        table: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
        settings = BalanceSettings.model_validate(table.get("balance", {}))
        rewards = table.get("rewards", {}).items()
        weights = {name: float(reward.get("weight", 1.0)) for name, reward in rewards}
    except (OSError, ValueError, TypeError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"{path}: can't read its balance: {reason}") from error
    for problem in balance_problems(settings):
        raise BadInputError(f"{path}: can't read its balance: {problem}")
    return RunBalance(settings, weights)
