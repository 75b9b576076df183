"""The recipe's tables as typed, frozen models. docs/recipe.md is generated from their docstrings.

Only :mod:`marblecli.runs.recipe` makes them, from TOML; every room reads them.
"""

from marblecli.settings.balance import (
    OWN_BALANCE_KEYS,
    BalancePhase,
    BalanceSettings,
    MeasureSettings,
)
from marblecli.settings.model import OWN_MODEL_KEYS, LoraSettings, ModelSettings
from marblecli.settings.recipe import (
    CheckpointSettings,
    EvalSettings,
    Recipe,
    RunSettings,
    TrackingSettings,
)
from marblecli.settings.rewards import (
    OWN_REWARD_KEYS,
    EvalRewardSettings,
    PromptSettings,
    RewardSettings,
)
from marblecli.settings.training import (
    LevelSettings,
    OldPolicySettings,
    RowSettings,
    SamplingSettings,
    TrainingSettings,
)

__all__ = [
    "OWN_BALANCE_KEYS",
    "OWN_MODEL_KEYS",
    "OWN_REWARD_KEYS",
    "BalancePhase",
    "BalanceSettings",
    "CheckpointSettings",
    "EvalRewardSettings",
    "EvalSettings",
    "LevelSettings",
    "LoraSettings",
    "MeasureSettings",
    "ModelSettings",
    "OldPolicySettings",
    "PromptSettings",
    "Recipe",
    "RewardSettings",
    "RowSettings",
    "RunSettings",
    "SamplingSettings",
    "TrackingSettings",
    "TrainingSettings",
]
