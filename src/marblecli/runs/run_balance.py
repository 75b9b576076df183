"""How a run was balanced, from the recipe that its directory holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from marblecli.errors import BadInputError
from marblecli.methods.checks import balance_problems, resolved
from marblecli.settings import BalanceSettings, RewardSettings


@dataclass(frozen=True)
class RunBalance:
    """What a recipe says of the balance; the rest of it may be of another version or place."""

    settings: BalanceSettings
    """With every option of its methods written out."""
    loss_weights: Mapping[str, float]
    """By reward; for the method ``weighted-sum``."""


def read_balance(table: Mapping[str, Any], path: Path) -> RunBalance:
    """From the recipe's table, of which only ``[balance]`` and the rewards' weights are read.

    Raises BadInputError, which names the recipe's ``path``, if this version can't read them.
    """
    try:
        settings = BalanceSettings.model_validate(table.get("balance", {}))
        weights = {name: _weight(reward) for name, reward in table.get("rewards", {}).items()}
    except (TypeError, AttributeError, ValidationError) as error:
        reason = str(error).splitlines()[0]
        raise BadInputError(f"{path}: can't read its balance: {reason}") from error
    for problem in balance_problems(settings):
        raise BadInputError(f"{path}: can't read its balance: {problem}")
    return RunBalance(resolved(settings), weights)


def _weight(reward: Mapping[str, Any]) -> float:
    """The reward's weight alone: its other keys may be those of a plugin that isn't here."""
    return RewardSettings.model_validate({k: v for k, v in reward.items() if k == "weight"}).weight
