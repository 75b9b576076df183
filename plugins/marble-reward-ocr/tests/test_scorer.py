from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from marble_reward_ocr.golden import Drawing
from marble_reward_ocr.plugin import OCR
from marble_reward_ocr.reader import TextReader
from marble_reward_ocr.scorer import OcrScorer
from marble_reward_ocr.similarity import exact, published
from marblecli.rewards import Prompt, RewardBatch
from marblecli.rewards.score import ActiveReward, RewardSuite


class BrokenReader(TextReader):
    """An engine that crashes on the second image."""

    def __init__(self) -> None:
        self.calls = 0

    def read(self, image: np.ndarray) -> tuple[str, ...]:
        self.calls += 1
        if self.calls == 2:
            raise MemoryError("no arena")
        return ("open",)


def batch_of(*texts: str, prompts: list[str], metadata: list[dict[str, Any]]) -> RewardBatch:
    return RewardBatch(
        np.stack([Drawing((text,), side=128).draw() for text in texts]), prompts, metadata
    )


def test_scores_by_hand(reader: TextReader) -> None:
    batch = batch_of(
        "OPEN",
        "OPEN",
        "OPEN",
        "Happy Birthday",
        prompts=['a sign "open"', 'a sign "oven"', 'a sign "zzzz"', "a cake"],
        metadata=[{}, {}, {}, {"target_text": "happy birthday"}],
    )
    assert OcrScorer(reader, published)(batch).tolist() == [1.0, 0.75, 0.0, 1.0]
    assert OcrScorer(reader, exact)(batch).tolist() == [1.0, 0.0, 0.0, 1.0]


def test_lines_are_joined(reader: TextReader) -> None:
    images = Drawing(("Fresh", "Bread"), side=128).draw()[None]
    assert OcrScorer(reader, published)(RewardBatch(images, ['"fresh bread"'], [{}])) == 1.0


def test_scores_go_with_their_images(reader: TextReader) -> None:
    texts, prompts = ("OPEN", "coffee", "Exit 42"), ['"opem"', '"coffee"', '"Exit"']
    score = OcrScorer(reader, published)
    there = score(batch_of(*texts, prompts=prompts, metadata=[{}] * 3))
    back = score(batch_of(*texts[::-1], prompts=prompts[::-1], metadata=[{}] * 3))
    assert there.tolist() == back.tolist()[::-1] == [0.75, 1.0, 1.0]


def test_a_prompt_without_text_is_an_error(reader: TextReader) -> None:
    with pytest.raises(ValueError, match="asks for no text"):
        OcrScorer(reader, published)(batch_of("OPEN", prompts=["a cat"], metadata=[{}]))


def test_a_crash_is_a_fault_and_no_score() -> None:
    prompts = [Prompt('"open"', "ocr"), Prompt("a cat", "other"), Prompt('"open"', "ocr")]
    with RewardSuite([ActiveReward(OCR, OcrScorer(BrokenReader(), published))]) as suite:
        table = suite.score(torch.zeros(3, 3, 32, 32), prompts)
    assert table.valid.tolist() == [[False]] * 3
    (fault,) = table.faults
    assert fault.message.startswith("MemoryError: no arena (")
    assert (fault.reward, fault.images) == ("ocr", 2)
