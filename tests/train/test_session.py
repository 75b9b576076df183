from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import torch

from marblecli.train.loop import Progress, train_step
from marblecli.train.session import Session, evaluation_prompts, restore, snapshot
from marblecli.types import Prompt, Snapshot

Opener = Callable[..., Session]


def source(name: str, count: int) -> tuple[Prompt, ...]:
    return tuple(Prompt(f"{name}{index}", name) for index in range(count))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (0, []),
        (1, ["b0"]),
        (3, ["a0", "b0", "c0"]),
        (5, ["a0", "a1", "b0", "c0", "c1"]),
        (7, ["a0", "a1", "a2", "b0", "c0", "c1", "c2"]),
        (100, ["a0", "a1", "a2", "b0", "c0", "c1", "c2", "c3"]),
    ],
)
def test_evaluation_prompts_come_evenly_from_the_sources(limit: int, expected: list[str]) -> None:
    """The first of each, as long as each has some left; listed source by source."""
    sources = [source("b", 1), source("a", 3), source("c", 4)]
    assert [prompt.text for prompt in evaluation_prompts(sources, limit)] == expected


def test_no_source_gives_no_evaluation_prompts() -> None:
    assert evaluation_prompts([], 5) == ()


def flat(saved: Snapshot) -> dict[str, torch.Tensor]:
    """Its tensors by file and name."""
    parts = saved.tensors.items()
    return {f"{stem}/{name}": value for stem, part in parts for name, value in part.items()}


def nested(tensors: dict[str, torch.Tensor]) -> dict[str, dict[str, torch.Tensor]]:
    """The way back, with copies."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for key, value in tensors.items():
        stem, name = key.split("/", 1)
        parts.setdefault(stem, {})[name] = value.clone()
    return parts


def tensors(session: Session, step: int = 0) -> dict[str, torch.Tensor]:
    """Every tensor of a snapshot, copied."""
    return {key: value.clone() for key, value in flat(snapshot(session, step, {})).items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_a_fresh_session_is_the_base_model(mode: str, open_tiny: Opener) -> None:
    session = open_tiny({"model.mode": mode})
    conditioning = session.backbone.conditioning(["a red square on black"])
    latents, level = torch.ones(1, 8, 4, 4), torch.tensor([0.5])
    with torch.no_grad():
        velocities = [
            session.policies.velocity(name, latents, level, conditioning)
            for name in ("reference", "old", "trained")
        ]
    assert torch.equal(velocities[0], velocities[1])
    assert torch.equal(velocities[0], velocities[2])


def test_adapters_come_from_the_runs_seed_alone(open_tiny: Opener) -> None:
    first = tensors(open_tiny())
    torch.manual_seed(99)
    again, other = tensors(open_tiny()), tensors(open_tiny({"run.seed": 1}))
    assert same(first, again)
    drawn = [key for key in first if key.startswith("trained/") and "lora_A" in key]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


def test_opening_a_session_leaves_the_global_generator_alone(open_tiny: Opener) -> None:
    before = torch.get_rng_state()
    open_tiny()
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_snapshot_and_restore_are_a_round_trip_to_the_bit(
    mode: str, open_tiny: Opener, recorded: object
) -> None:
    session = open_tiny({"model.mode": mode})
    progress = Progress()
    for _ in range(2):
        progress, _ = train_step(session, recorded, progress)
    wanted = tensors(session, 2)
    stems = {key.split("/")[0] for key in wanted}
    assert stems == {"trained", "old", "ema", "optimizer"}
    saved = snapshot(session, 2, {"faults": 3})
    kept = Snapshot(saved.step, nested(wanted), json.loads(json.dumps(saved.state)))
    fresh = open_tiny({"model.mode": mode, "run.seed": 1})
    assert not same(tensors(fresh), wanted)
    restore(fresh, kept)
    assert same(tensors(fresh, 2), wanted)
    assert snapshot(fresh, 2, {"faults": 3}).state == kept.state
    assert kept.state["ema_steps"] == kept.step == 2
    assert fresh.ema.steps == 2


def test_training_on_does_not_reach_into_the_saved_state(
    open_tiny: Opener, recorded: object
) -> None:
    session = open_tiny()
    progress, _ = train_step(session, recorded, Progress())
    wanted = tensors(session, 1)
    saved = Snapshot(1, nested(wanted), snapshot(session, 1, {}).state)
    restore(session, saved)
    train_step(session, recorded, progress)
    assert same(flat(saved), wanted)
    assert not same(tensors(session, 2), wanted)


def test_samplers_follow_the_recipe(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler("reference", 5)
    assert (sampler.policy, sampler.steps) == ("reference", 5)
    assert (sampler.resolution, sampler.batch_size) == (16, 6)
