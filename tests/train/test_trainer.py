from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from marblecli.train.loop import Progress, train_step
from marblecli.train.trainer import Trainer, restore, snapshot
from marblecli.types import Snapshot

Opener = Callable[..., Trainer]


def flat(saved: Snapshot) -> dict[str, torch.Tensor]:
    """The snapshot's tensors by file and name, in one mapping."""
    parts = saved.tensors.items()
    return {f"{stem}/{name}": value for stem, part in parts for name, value in part.items()}


def nested(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The snapshot's form of such a mapping, with copies of the tensors."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        stem, name = key.split("/", 1)
        parts.setdefault(stem, {})[name] = value.clone()
    return parts


def tensors(trainer: Trainer, step: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of a snapshot, copied."""
    return {key: value.clone() for key, value in flat(snapshot(trainer, step, {})).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_fresh_sampler_is_the_base_model(mode: str, open_tiny: Opener) -> None:
    trainer = open_tiny({"model.mode": mode})
    conditioning = trainer.sampler.backbone.conditioning(["a red square on black"])
    latents, level = torch.ones(1, 8, 4, 4), torch.tensor([0.5])
    with torch.no_grad():
        velocities = [
            trainer.sampler.policies.velocity(name, latents, level, conditioning)
            for name in ("reference", "old", "trained")
        ]
    # In full mode to rounding: torch multiplies by weights that ask for gradients in another shape
    # (one product of matrices, not one for each image), and so by another kernel.
    for velocity in velocities[1:]:
        torch.testing.assert_close(velocity, velocities[0], rtol=1e-5, atol=1e-6)
    if mode == "full":
        policies = trainer.sampler.policies
        names = ("reference", "old", "trained")
        weights = [policies.network(name).state_dict().values() for name in names]
        for each in zip(*weights, strict=True):
            assert torch.equal(each[0], each[1])
            assert torch.equal(each[0], each[2])


def test_adapters_depend_on_the_runs_seed_alone(open_tiny: Opener) -> None:
    first = tensors(open_tiny())
    torch.manual_seed(99)
    again, other = tensors(open_tiny()), tensors(open_tiny({"run.seed": 1}))
    assert same(first, again)
    drawn = [key for key in first if key.startswith("trained/") and "lora_A" in key]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


def test_opening_a_trainer_does_not_change_the_global_generator(open_tiny: Opener) -> None:
    before = torch.get_rng_state()
    open_tiny()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_snapshot_and_restore_are_a_round_trip_to_the_bit(
    mode: str, open_tiny: Opener, recorded: object
) -> None:
    trainer = open_tiny({"model.mode": mode})
    progress = Progress()
    for _ in range(2):
        progress, _ = train_step(trainer, recorded, progress)
    wanted = tensors(trainer, 2)
    stems = {key.split("/")[0] for key in wanted}
    assert stems == {"trained", "old", "ema", "optimizer"}
    saved = snapshot(trainer, 2, {"faults": 3})
    kept = Snapshot(saved.step, nested(wanted), json.loads(json.dumps(saved.state)))
    fresh = open_tiny({"model.mode": mode, "run.seed": 1})
    assert not same(tensors(fresh), wanted)
    restore(fresh, kept)
    assert same(tensors(fresh, 2), wanted)
    assert snapshot(fresh, 2, {"faults": 3}).state == kept.state
    assert kept.state["ema_steps"] == kept.step == 2
    assert fresh.average.steps == 2


def test_further_training_does_not_change_the_saved_state(
    open_tiny: Opener, recorded: object
) -> None:
    trainer = open_tiny()
    progress, _ = train_step(trainer, recorded, Progress())
    wanted = tensors(trainer, 1)
    saved = Snapshot(1, nested(wanted), snapshot(trainer, 1, {}).state)
    restore(trainer, saved)
    train_step(trainer, recorded, progress)
    assert same(flat(saved), wanted)
    assert not same(tensors(trainer, 2), wanted)
