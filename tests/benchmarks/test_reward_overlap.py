from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest
import torch

import reward_overlap
from marblecli.types import Prompt

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


def test_predictions_worked_by_hand() -> None:
    equal = reward_overlap.Round(1.0, 1.0, 1.0, 0.0, 0.0)
    assert equal.predicted(4) == (8.0, 5.0)
    quick = reward_overlap.Round(2.0, 0.5, 0.5, 0.0, 0.0)
    assert quick.predicted(4) == (10.0, 8.5)


def test_one_suite_waits_for_each_batch_and_the_other_does_not() -> None:
    held = threading.Event()
    images, prompts = torch.zeros(2, 3, 8, 8), [Prompt("a", "scenes")] * 2
    with reward_overlap.suites(lambda: time.sleep(0.05)) as (in_turn, _):
        assert in_turn.submit(images, prompts).done()
    with reward_overlap.suites(lambda: held.wait(30)) as (_, overlapped):
        future = overlapped.submit(images, prompts)
        assert not future.done()
        held.set()
        assert future.result().values.shape == (2, 1)


def test_every_round_measures_both_kinds_of_rewards(tmp_path: Path) -> None:
    target, threads = tmp_path / "out.json", torch.get_num_threads()
    options = reward_overlap.Options(
        model=str(TINY),
        resolution=32,
        sampler_steps=2,
        batches=3,
        images=2,
        cost=1.0,
        rounds=2,
        json=target,
    )
    try:
        reward_overlap.run(options)
    finally:
        torch.set_num_threads(threads)
    rounds = json.loads(target.read_text())["rounds"]
    assert {name: len(found) for name, found in rounds.items()} == {"waits": 2, "computes": 2}
    for found in rounds["waits"]:
        # The reward sleeps three times, and one after the other means that nothing else runs then.
        assert found["in_turn"] >= 3 * found["scoring"] * 0.9
        assert found["overlapped"] > found["scoring"]


@pytest.mark.parametrize("kind", ["waiting", "computing"])
def test_twice_the_cost_takes_longer(kind: str) -> None:
    make = getattr(reward_overlap, kind)

    def cost(seconds: float) -> float:
        work = make(seconds)
        started = time.perf_counter()
        work()
        return time.perf_counter() - started

    assert cost(0.4) > cost(0.05)
