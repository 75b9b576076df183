"""How near the text that was read comes to the text that was asked for; all in [0, 1]."""

from __future__ import annotations

from rapidfuzz.distance import Levenshtein


def published(target: str, text: str) -> float:
    """DiffusionNFT's score (``flow_grpo/ocr.py``, after Flow-GRPO): 1 - d / len(target).

    d is 0 if the target is somewhere in the text, else their Levenshtein distance, at most
    len(target). Text beside the target is free; if the target isn't whole, it costs.
    """
    target, text = normalise(target), normalise(text)
    distance = 0 if target in text else Levenshtein.distance(target, text)
    return 1 - min(distance, len(target)) / len(target)


def exact(target: str, text: str) -> float:
    """1 if the target is somewhere in the text, letter by letter, else 0."""
    return float(normalise(target) in normalise(text))


def whole(target: str, text: str) -> float:
    """Like :func:`published`, but all text counts, so that text beside the target costs."""
    target, text = normalise(target), normalise(text)
    return 1 - min(Levenshtein.distance(target, text), len(target)) / len(target)


def normalise(text: str) -> str:
    """Without spaces, in lower case: what counts as the same text."""
    return text.replace(" ", "").lower()


MEASURES = {"published": published, "exact": exact, "whole": whole}
"""By the value of the option ``score``."""
