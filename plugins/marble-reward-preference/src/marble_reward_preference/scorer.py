"""What the five scorers have in common: weights that move, scores that no caller's mode changes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from marble_reward_preference.shared import Lease

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from marblecli.rewards import RewardBatch


class ModelScorer(ABC):
    """A scorer with a model, perhaps shared with others."""

    def __init__(self, model: Lease) -> None:
        self._model = model

    @abstractmethod
    def score(self, batch: RewardBatch) -> Tensor:
        """B images and prompts -> [B]."""

    def __call__(self, batch: RewardBatch) -> ArrayLike:
        # All of it, since autocast would reach the preprocessing and the last products too.
        with self._model.use():
            return self.score(batch).cpu().numpy()

    def to(self, device: str, /) -> None:
        """Move the weights to ``device``, or keep them where another scorer needs them."""
        self._model.to(device)
