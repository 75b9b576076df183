"""How often the network was evaluated, and gone through backwards, for one image each time."""

from __future__ import annotations

from torch import Tensor


class Passes:
    """Counts the images of forward and of backward passes, until they are taken."""

    def __init__(self) -> None:
        self._forward = self._backward = 0

    def count(self, velocity: Tensor) -> None:
        """Count a forward pass whose result is ``velocity`` [B, ...], and what goes back by it."""
        self._forward += len(velocity)
        if velocity.requires_grad:
            velocity.register_hook(self._went_back)

    def _went_back(self, gradient: Tensor) -> None:
        self._backward += len(gradient)

    def take(self) -> dict[str, int]:
        """Both counts, ``forward`` and ``backward``; then they start from zero."""
        found = {"forward": self._forward, "backward": self._backward}
        self._forward = self._backward = 0
        return found
