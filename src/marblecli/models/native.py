"""Where a layer of diffusers' network is in the network that the model's authors published.

ComfyUI, Forge and sd-scripts run that network, so their adapter files are keyed by its layers.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class NativeLayer:
    """The rows of one layer of the published network that one layer of diffusers' is."""

    name: str
    """The dotted name there."""
    piece: int = 0
    """Which of the layer's pieces: its rows are cut into ``pieces`` of the same number."""
    pieces: int = 1
    """1, or 3 where queries, keys and values are one layer there."""
    swapped: bool = False
    """Whether the two halves of its rows stand in the other order there: shift before scale."""
