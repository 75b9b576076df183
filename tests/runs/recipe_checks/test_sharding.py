from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load, problems

SHARDED = ["model.shard=true", "model.mode=full"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["model.shard=true"], 'model.shard: needs model.mode = "full"'),
        ([*SHARDED, "model.compile=true"], "model.compile: can't be true with model.shard"),
        (
            [*SHARDED, "training.gradients=backward"],
            'training.gradients: can\'t be "backward" with model.shard',
        ),
        (
            [*SHARDED, "training.micro_batch_size=auto"],
            'training.micro_batch_size: can\'t be "auto" with model.shard',
        ),
        (
            [*SHARDED, "training.optimizer=adamw-8bit"],
            'training.optimizer: can\'t be "adamw-8bit" with model.shard',
        ),
        (
            [*SHARDED, "balance.method=marble-published"],
            "balance.method: can't be marble-published with model.shard",
        ),
        (
            [*SHARDED, 'balance.phases=[{method = "marble-published", until = 2}]'],
            "balance.phases.0.method: can't be marble-published with model.shard",
        ),
    ],
)
def test_what_cant_be_sharded_is_named(folder: Path, overrides: list[str], line: str) -> None:
    (found,) = problems(folder, *overrides)
    assert found.startswith(line)


def test_full_mode_can_be_sharded(folder: Path) -> None:
    checkpointed = [*SHARDED, "model.gradient_checkpointing=true", "balance.refresh_every=4"]
    assert load(folder, *checkpointed).model.shard


def test_only_sharded_weights_rule_these_out(folder: Path) -> None:
    whole = ["model.shard=false", "training.micro_batch_size=auto", "model.compile=true"]
    assert not load(folder, *whole).model.shard


def test_faulty_fields_dont_hide_what_else_cant_be_sharded(folder: Path) -> None:
    found = problems(folder, *SHARDED, "model.compile=perhaps", "training.gradients=backward")
    assert [line.partition(":")[0] for line in found] == ["model.compile", "training.gradients"]
