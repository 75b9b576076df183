from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from marblecli.rewards.score import ActiveReward, RewardSuite, merge
from marblecli.rewards.spec import ImageLayout, RewardBatch, RewardSpec
from marblecli.types import Prompt, RewardFault, RewardTable
from support.faults import placeless


def unused(options: object, device: str) -> Any:
    raise AssertionError("the suite builds nothing")


def reward(
    scorer: Callable[[RewardBatch], Any],
    name: str = "r",
    images: ImageLayout = "uint8",
    metadata: tuple[str, ...] = (),
    sources: tuple[str, ...] | None = None,
) -> ActiveReward:
    return ActiveReward(
        RewardSpec(name, "", unused, images=images, metadata=metadata), scorer, sources
    )


def ones(batch: RewardBatch) -> list[float]:
    return [1.0] * len(batch.prompts)


def red(batch: RewardBatch) -> Any:
    return batch.images[:, 0, 0, 0] / 255


PROMPTS = (
    Prompt("a cat", "plain"),
    Prompt('the text "HI"', "ocr", {"text": "HI"}),
    Prompt("two dogs", "geneval", {"count": 2}),
    Prompt('two "HI"', "ocr", {"text": "HI", "count": 2}),
)
IMAGES = torch.linspace(0, 1, 4).reshape(4, 1, 1, 1).expand(4, 3, 2, 5)


def test_where_a_reward_applies_follows_from_metadata_and_source() -> None:
    suite = RewardSuite(
        [
            reward(unused, "all"),
            reward(unused, "text", metadata=("text",)),
            reward(unused, "both", metadata=("text", "count")),
            reward(unused, "plain", sources=("plain", "geneval")),
            reward(unused, "counted-ocr", metadata=("count",), sources=("ocr",)),
        ]
    )
    with suite:
        found = suite.applies(PROMPTS)
        assert suite.applies([]).shape == (0, 5)
    assert found.dtype == bool
    np.testing.assert_array_equal(
        found,
        [
            [True, False, False, True, False],
            [True, True, False, False, False],
            [True, False, False, True, False],
            [True, True, True, False, True],
        ],
    )


def test_each_reward_scores_only_where_it_applies() -> None:
    seen: list[RewardBatch] = []

    def note(batch: RewardBatch) -> Any:
        seen.append(batch)
        return red(batch)

    with RewardSuite([reward(note, metadata=("text",)), reward(red, "s")]) as suite:
        table = suite.score(IMAGES, PROMPTS)
    (batch,) = seen
    assert list(batch.prompts) == ['the text "HI"', 'two "HI"']
    assert [dict(fields) for fields in batch.metadata] == [
        {"text": "HI"},
        {"text": "HI", "count": 2},
    ]
    np.testing.assert_array_equal(table.valid, [[0, 1], [1, 1], [0, 1], [1, 1]])
    np.testing.assert_allclose(table.values[:, 0], [0, 85 / 255, 0, 1])
    np.testing.assert_allclose(table.values[:, 1], np.linspace(0, 1, 4))
    assert table.names == ("r", "s")
    assert table.faults == ()


def test_a_reward_that_applies_nowhere_is_not_called() -> None:
    with RewardSuite([reward(unused, metadata=("absent",))]) as suite:
        table = suite.score(IMAGES, PROMPTS)
    assert not table.valid.any()
    assert table.faults == ()


def test_some_of_the_rewards_can_be_asked_alone() -> None:
    called: list[str] = []

    def noted(name: str) -> Callable[[RewardBatch], Any]:
        def score(batch: RewardBatch) -> list[float]:
            called.append(name)
            return ones(batch)

        return score

    with RewardSuite([reward(noted(name), name) for name in "abc"]) as suite:
        table = suite.submit(IMAGES, PROMPTS, ("c", "a")).result()
        assert (table.names, sorted(called)) == (("a", "c"), ["a", "c"])
        assert table.values.shape == (4, 2)
        assert suite.empty(("b",)).names == ("b",)
        assert suite.empty().values.shape == (0, 3)


def test_images_have_the_declared_layout() -> None:
    seen: dict[str, Any] = {}

    def note(name: str) -> Callable[[RewardBatch], Any]:
        return lambda batch: seen.update({name: batch.images}) or ones(batch)

    layouts: tuple[ImageLayout, ...] = ("uint8", "float", "pil")
    images = torch.tensor([0.0, 0.5, 1.0]).reshape(1, 3, 1, 1).repeat(1, 1, 2, 5)
    images[0, :, 1, 4] = torch.tensor([1.0, 0.0, 2.0])
    with RewardSuite([reward(note(one), one, one) for one in layouts]) as suite:
        suite.score(images, PROMPTS[:1])
    assert seen["uint8"].shape == (1, 2, 5, 3)
    assert seen["uint8"].dtype == np.uint8
    assert seen["uint8"][0, 0, 0].tolist() == [0, 128, 255]
    assert seen["uint8"][0, 1, 4].tolist() == [255, 0, 255]
    assert seen["float"].dtype == torch.float32
    torch.testing.assert_close(seen["float"], images)
    (picture,) = seen["pil"]
    assert isinstance(picture, Image.Image)
    assert (picture.mode, picture.size) == ("RGB", (5, 2))
    assert picture.getpixel((4, 1)) == (255, 0, 255)


@pytest.mark.parametrize("layout", ["uint8", "float", "pil"])
def test_a_scorer_that_changes_its_images_does_not_affect_others(layout: ImageLayout) -> None:
    def spoil(batch: RewardBatch) -> Any:
        for image in batch.images:
            if layout == "pil":
                image.paste((9, 9, 9), (0, 0, 2, 2))
            else:
                image[:] = 9
        return ones(batch)

    images = torch.zeros(2, 3, 4, 4)
    sums: list[float] = []

    def note(batch: RewardBatch) -> Any:
        sums.append(float(sum(np.asarray(image).sum() for image in batch.images)))
        return ones(batch)

    with RewardSuite([reward(spoil, "a", layout), reward(note, "b", layout)]) as suite:
        suite.score(images, PROMPTS[:2])
        suite.score(images, PROMPTS[:2])
    assert sums == [0.0, 0.0]
    assert images.sum() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_masked_and_counted(bad: float) -> None:
    with RewardSuite([reward(lambda batch: [1.0, bad, 3.0, bad]), reward(ones, "s")]) as suite:
        table = suite.score(IMAGES, PROMPTS)
    assert table.faults == (RewardFault("r", "2 of 4 values aren't finite", 2),)
    np.testing.assert_array_equal(table.valid, [[1, 1], [0, 1], [1, 1], [0, 1]])
    np.testing.assert_array_equal(table.values[:, 0], [1, 0, 3, 0])


def fail(batch: RewardBatch) -> Any:
    raise KeyError("no\nsuch key")


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        (fail, r"KeyError: 'no\nsuch key'"),
        (lambda batch: [1.0], "ValueError: expected 4 values, got an array of shape (1,)"),
        (
            lambda batch: np.ones((4, 1)),
            "ValueError: expected 4 values, got an array of shape (4, 1)",
        ),
        (lambda batch: 1.0, "ValueError: expected 4 values, got an array of shape ()"),
        (lambda batch: ["good"] * 4, "ValueError: could not convert string to float: 'good'"),
    ],
)
def test_a_failing_scorer_masks_its_images_and_no_others(
    scorer: Callable[[RewardBatch], Any], message: str
) -> None:
    with RewardSuite([reward(scorer), reward(ones, "s")]) as suite:
        table = suite.score(IMAGES, PROMPTS)
    assert tuple(map(placeless, table.faults)) == (RewardFault("r", message, 4),)
    np.testing.assert_array_equal(table.valid, [[False, True]] * 4)
    assert np.isfinite(table.values).all()


def test_a_scorer_may_return_tensors_and_lists() -> None:
    scorers = [lambda batch: torch.arange(4.0), lambda batch: [0, 1, 2, 3]]
    with RewardSuite([reward(s, n) for s, n in zip(scorers, "ab", strict=True)]) as suite:
        table = suite.score(IMAGES, PROMPTS)
    assert table.values.dtype == np.float64
    np.testing.assert_array_equal(table.values, [[0, 0], [1, 1], [2, 2], [3, 3]])


def test_scorers_run_without_gradients() -> None:
    modes: list[bool] = []

    def note(batch: RewardBatch) -> Any:
        modes.append(torch.is_grad_enabled())
        return ones(batch)

    with RewardSuite([reward(note)]) as suite:
        suite.score(IMAGES, PROMPTS)
    assert modes == [False]


def test_submitting_does_not_wait_and_each_reward_has_one_call_at_a_time() -> None:
    gate, running, most = threading.Event(), threading.Lock(), []

    def slow(batch: RewardBatch) -> Any:
        most.append(running.acquire(blocking=False))
        assert gate.wait(30)
        running.release()
        return [float(prompt.split()[1]) for prompt in batch.prompts]

    with RewardSuite([reward(slow)]) as suite:
        batches = [[Prompt(f"image {n}", "s")] for n in range(3)]
        futures = [suite.submit(IMAGES[:1], batch) for batch in batches]
        assert not any(future.done() for future in futures)
        gate.set()
        table = merge([future.result(30) for future in futures])
    assert most == [True, True, True]
    np.testing.assert_array_equal(table.values, [[0], [1], [2]])


def test_the_rewards_of_one_batch_run_in_parallel() -> None:
    together = threading.Barrier(2)

    def meet(batch: RewardBatch) -> Any:
        together.wait(30)
        return ones(batch)

    with RewardSuite([reward(meet, "a"), reward(meet, "b")]) as suite:
        assert suite.score(IMAGES, PROMPTS).faults == ()


def test_every_image_needs_a_prompt() -> None:
    with RewardSuite([reward(ones)]) as suite, pytest.raises(ValueError, match="4 images but 2"):
        suite.submit(IMAGES, PROMPTS[:2])


def test_a_closed_suite_refuses_images() -> None:
    suite = RewardSuite([reward(ones)])
    suite.close()
    suite.close()
    with pytest.raises(RuntimeError):
        suite.submit(IMAGES, PROMPTS)


def test_a_suite_with_a_scorer_that_never_returns_closes_and_the_process_ends() -> None:
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", NEVER], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["1", "[[True,", "False]]"]
    # This is the time to import torch, one time-out, and the wait when the suite is closed.
    assert time.monotonic() - began < 60


NEVER = """
import time, torch
from marblecli.rewards.score import ActiveReward, RewardSuite
from marblecli.rewards.spec import RewardSpec
from marblecli.types import Prompt

def forever(batch):
    time.sleep(3600)

good = ActiveReward(RewardSpec("good", "", print), lambda batch: [1.0] * len(batch.prompts))
bad = ActiveReward(RewardSpec("bad", "", print), forever, timeout=0.2)
with RewardSuite([good, bad]) as suite:
    table = suite.score(torch.zeros(1, 3, 4, 4), [Prompt("a", "s")])
    suite.submit(torch.zeros(1, 3, 4, 4), [Prompt("a", "s")])
print(len(table.faults), table.valid.tolist())
"""


class Movable:
    """Scores only on the device where it should score, and notes its moves."""

    def __init__(self, moves: list[str], name: str) -> None:
        self.moves, self.name = moves, name
        self.place = "cpu"

    def __call__(self, batch: RewardBatch) -> Any:
        assert self.place == "cuda"
        return ones(batch)

    def to(self, device: str, /) -> None:
        self.place = device
        self.moves.append(f"{self.name} to {device}")


def test_offloaded_rewards_are_moved_before_any_scores_and_back_when_no_batch_waits() -> None:
    """Rewards may share a model, so none is moved while another one scores."""
    moves: list[str] = []
    gate = threading.Event()

    def note(batch: RewardBatch) -> Any:
        assert gate.wait(30)
        moves.append("score")
        return ones(batch)

    rewards = [
        replace(reward(Movable(moves, "a"), "a"), offload_from="cuda"),
        replace(reward(Movable(moves, "b"), "b", metadata=("absent",)), offload_from="cuda"),
        replace(reward(Movable(moves, "c"), "c"), offload_from="cuda"),
        reward(note, "note"),
    ]
    with RewardSuite(rewards) as suite:
        futures = [suite.submit(IMAGES, PROMPTS) for _ in range(2)]
        gate.set()
        tables = [future.result(30) for future in futures]
        assert moves == ["a to cuda", "c to cuda", "score", "score", "a to cpu", "c to cpu"]
        moves.clear()
        suite.score(IMAGES, PROMPTS)
    assert moves == ["a to cuda", "c to cuda", "score", "a to cpu", "c to cpu"]
    assert [table.faults for table in tables] == [(), ()]


def test_merging_concatenates_images_and_faults() -> None:
    fault = RewardFault("a", "x", 1)
    one = RewardTable(("a",), np.array([[1.0]]), np.array([[True]]), (fault,))
    two = RewardTable(("a",), np.array([[0.0], [3.0]]), np.array([[False], [True]]), (fault,))
    table = merge([one, two])
    np.testing.assert_array_equal(table.values, [[1], [0], [3]])
    np.testing.assert_array_equal(table.valid, [[True], [False], [True]])
    assert table.faults == (fault, fault)


def test_only_tables_of_the_same_rewards_can_be_merged() -> None:
    one = RewardTable(("a",), np.zeros((1, 1)), np.ones((1, 1), bool))
    two = RewardTable(("b",), np.zeros((1, 1)), np.ones((1, 1), bool))
    for tables in ([one, two], []):
        with pytest.raises(ValueError, match="one set of rewards"):
            merge(tables)


def test_a_scale_multiplies_the_scores_and_may_turn_them_round() -> None:
    suite = RewardSuite(
        [
            replace(reward(ones, name), scale=scale)
            for name, scale in (("a", 1.0), ("b", -10.0), ("c", 0.0))
        ]
    )
    with suite:
        table = suite.score(torch.zeros(2, 3, 8, 8), [Prompt("x", "s")] * 2)
    assert table.values.tolist() == [[1.0, -10.0, 0.0]] * 2
    assert table.valid.all()
