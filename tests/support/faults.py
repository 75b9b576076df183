"""Faults of plugins, without the place in their code."""

from __future__ import annotations

import re
from dataclasses import replace

from marblecli.types import RewardFault

_PLACE = re.compile(r" \([^()]*\.py:\d+\)")


def without_place(text: str) -> str:
    """The text without ``(FILE:LINE)``."""
    return _PLACE.sub("", text)


def placeless(fault: RewardFault | None) -> RewardFault | None:
    """The fault without the place in its message."""
    return None if fault is None else replace(fault, message=without_place(fault.message))
