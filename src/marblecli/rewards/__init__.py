"""The plugin host. What a plugin needs is importable from here."""

from marblecli.rewards.spec import NoOptions, RewardBatch, RewardSpec, Scorer, hookimpl

__all__ = ["NoOptions", "RewardBatch", "RewardSpec", "Scorer", "hookimpl"]
