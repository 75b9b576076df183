"""Images and prompts -> scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from marble_reward_ocr.reader import TextReader
from marble_reward_ocr.target import target_text
from marblecli.rewards import RewardBatch


class OcrScorer:
    """Compares what it reads in an image with what the prompt asks for."""

    def __init__(self, reader: TextReader, measure: Callable[[str, str], float]) -> None:
        self._reader = reader
        self._measure = measure

    def __call__(self, batch: RewardBatch) -> NDArray[np.float64]:
        """uint8 [B, H, W, 3] -> [B] in [0, 1].

        Raises what the engine raises: a crash is a fault, to be masked, and never a score of 0.
        Raises ValueError for a prompt without a text.
        """
        targets = [target_text(*asked) for asked in zip(batch.prompts, batch.metadata, strict=True)]
        return np.array(
            [self._score(*pair) for pair in zip(batch.images, targets, strict=True)], np.float64
        )

    def _score(self, image: NDArray[np.uint8], target: str | None) -> float:
        if target is None:
            raise ValueError("the prompt asks for no text: it has neither quotes nor target_text")
        return self._measure(target, "".join(self._reader.read(image)))
