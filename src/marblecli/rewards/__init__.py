"""The plugin host. What a plugin needs is importable from here."""

from marblecli.rewards.hub import fetch
from marblecli.rewards.spec import (
    HubFiles,
    MovableScorer,
    NoOptions,
    RewardBatch,
    RewardSpec,
    Scorer,
    hookimpl,
)

__all__ = [
    "HubFiles",
    "MovableScorer",
    "NoOptions",
    "RewardBatch",
    "RewardSpec",
    "Scorer",
    "fetch",
    "hookimpl",
]
