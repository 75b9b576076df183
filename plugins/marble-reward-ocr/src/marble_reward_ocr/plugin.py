"""What this package registers with marble: the reward ``ocr``, quick to list."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from marble_reward_ocr.target import target_text
from marblecli.rewards import NoOptions, Prompt, Register, RewardSpec, Scorer, hookimpl


class OcrOptions(NoOptions):
    """How text is read and judged. Sides are in pixels."""

    score: Literal["published", "exact", "whole"] = "published"
    """``published`` is DiffusionNFT's; ``exact`` gives 1 only if the text is there letter by
    letter; ``whole`` makes text beside it cost."""
    min_side: int = Field(256, ge=0, le=4096)
    """Images whose longer side is shorter are enlarged to it; 0 for never."""
    max_side: int = Field(960, ge=32, le=4096)
    """The text detector sees images no larger than this."""
    box_threshold: float = Field(0.6, ge=0, le=1)
    """Boxes that the text detector is less confident of are left out."""
    text_threshold: float = Field(0.5, ge=0, le=1)
    """Lines that the text reader is less confident of are left out."""


def _asks_for_text(prompt: Prompt) -> bool:
    return target_text(prompt.text, prompt.metadata) is not None


def _build(options: OcrOptions, _device: str) -> Scorer:
    # onnxruntime and OpenCV: only when a run needs them. They stay on the CPU, wherever that is.
    from marble_reward_ocr.reader import ReaderSettings, TextReader
    from marble_reward_ocr.scorer import OcrScorer
    from marble_reward_ocr.similarity import MEASURES

    settings = ReaderSettings(**options.model_dump(exclude={"score"}))
    return OcrScorer(TextReader(settings), MEASURES[options.score])


OCR = RewardSpec(
    name="ocr",
    summary="The text that the prompt quotes can be read in the image.",
    build=_build,
    options=OcrOptions,
    optional_metadata=("target_text",),
    condition=_asks_for_text,
    examples=(
        Prompt('a shop sign that says "OPEN"', "ocr"),
        Prompt("a cake with \u201cHappy Birthday\u201d on it", "ocr"),
        Prompt("the cover of a travel guide", "ocr", {"target_text": "New Zealand"}),
    ),
)


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the reward."""
    register(OCR)
