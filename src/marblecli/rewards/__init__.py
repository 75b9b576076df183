"""What a reward plugin may import: this, ``marblecli.rewards.testing`` and ``marblecli.errors``.

:mod:`marblecli.rewards.spec` is the contract on one page; ``wire`` is the protocol by which a
reward is scored on another machine.
"""

from marblecli.rewards import wire
from marblecli.rewards.daemon import DaemonExecutor
from marblecli.rewards.hub import fetch
from marblecli.rewards.spec import (
    HubFiles,
    MovableScorer,
    NoOptions,
    Register,
    RewardBatch,
    RewardSpec,
    Scorer,
    hookimpl,
)
from marblecli.types import Prompt

__all__ = [
    "DaemonExecutor",
    "HubFiles",
    "MovableScorer",
    "NoOptions",
    "Prompt",
    "Register",
    "RewardBatch",
    "RewardSpec",
    "Scorer",
    "fetch",
    "hookimpl",
    "wire",
]
