"""Reading text: RapidOCR with the PP-OCRv6 small models inside its wheel. CPU, no download."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rapidocr import RapidOCR


@dataclass(frozen=True)
class ReaderSettings:
    """How images are read. Sides are in pixels."""

    min_side: int = 256
    """Images whose longer side is shorter are enlarged to it."""
    max_side: int = 960
    """The text detector sees images no larger than this; the recogniser sees all pixels."""
    box_threshold: float = 0.6
    """Least mean probability of a region to count as text."""
    text_threshold: float = 0.5
    """Least confidence of a line to be kept."""


class TextReader:
    """One engine with one thread of computation; not for several callers at once."""

    def __init__(self, settings: ReaderSettings) -> None:
        """Load the models. Raises RuntimeError if they can't read a plain word."""
        self._min_side = settings.min_side
        # What it returns depends on what it is asked for; whole runs give an object with txts.
        self._engine: Callable[[NDArray[np.uint8]], Any] = RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,
                "Global.text_score": settings.text_threshold,
                "Det.limit_type": "max",
                "Det.limit_side_len": settings.max_side,
                "Det.box_thresh": settings.box_threshold,
                "EngineConfig.onnxruntime.intra_op_num_threads": 1,
                "EngineConfig.onnxruntime.inter_op_num_threads": 1,
            }
        )
        self._check()

    def read(self, image: NDArray[np.uint8]) -> tuple[str, ...]:
        """uint8 [H, W, 3] RGB -> the lines of text, top to bottom, left to right; none if none.

        Raises what the engine raises.
        """
        found = self._engine(self._prepare(image))
        return tuple(found.txts or ())

    def _prepare(self, image: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bgr = np.ascontiguousarray(image[..., ::-1])
        longer = max(bgr.shape[:2])
        if longer >= self._min_side:
            return bgr
        scale = self._min_side / longer
        return np.asarray(
            cv2.resize(bgr, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC), np.uint8
        )

    def _check(self) -> None:
        """Read one word: the engine loads its models only now."""
        image = np.full((256, 256, 3), 255, dtype=np.uint8)
        cv2.putText(image, "MARBLE", (30, 140), cv2.FONT_HERSHEY_SIMPLEX, 1.5, (0, 0, 0), 3)
        lines = self.read(image)
        if lines != ("MARBLE",):
            raise RuntimeError(f"the OCR engine reads {lines} where MARBLE is written")
