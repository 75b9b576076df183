"""What is shared by the tests of this room: see ``support/training.py``."""

from support.training import (
    batch,
    batch_of,
    live_bytes,
    loss_settings,
    moved_to,
    new_record,
    open_tiny,
    part_of,
    policies_of,
    recipe_of,
    recorded,
    run_group,
    run_tiny,
    transformer,
)

__all__ = [
    "batch",
    "batch_of",
    "live_bytes",
    "loss_settings",
    "moved_to",
    "new_record",
    "open_tiny",
    "part_of",
    "policies_of",
    "recipe_of",
    "recorded",
    "run_group",
    "run_tiny",
    "transformer",
]
