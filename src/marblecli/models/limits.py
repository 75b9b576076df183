"""What a model's configurations allow, and the nearest values that they do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds that come from a model's configurations, not from the recipe."""

    side_step: int
    """Pixels: a side is a multiple of it (the VAE's factor times the network's patch)."""
    largest_side: int | None
    """Pixels, a multiple of ``side_step``; None where nothing bounds a side."""
    tokens: Mapping[str, int]
    """By text encoder that is used: the tokens of a prompt that it reads; the rest is cut off."""

    def side_fault(self, side: int) -> str | None:
        """What is wrong with an image's side in pixels, with the nearest valid ones."""
        beyond = self.largest_side is not None and side > self.largest_side
        if not (side % self.side_step or beyond):
            return None
        bound = "" if self.largest_side is None else f" and at most {self.largest_side}"
        nearest = " or ".join(str(near) for near in self.nearest_sides(side))
        return (
            f"must be a multiple of {self.side_step}{bound} with this model, got {side}; "
            f"the nearest are {nearest}"
        )

    def nearest_sides(self, side: int) -> tuple[int, ...]:
        """The two valid sides nearest to ``side``, in order; one where there is only one."""
        step = self.side_step
        below = max(step, side // step * step)
        if self.largest_side is not None and below >= self.largest_side:
            below = max(step, self.largest_side - step)
        above = below + step
        if self.largest_side is not None:
            above = min(above, self.largest_side)
        return (below,) if below == above else (below, above)
