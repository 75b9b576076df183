"""How many forward passes a step takes for each of its images."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from marblecli.settings import Recipe

BACKWARD = MappingProxyType({"lora": 1.12, "full": 2.0})
"""Forward passes that a backward pass is worth, by ``model.mode``. To the adapters it is what torch
counts for SD3.5 Medium; to all weights it is about two."""


@dataclass(frozen=True)
class ImagePasses:
    """Forward passes that one image takes in a step; a pass is one evaluation of the network."""

    sampling: float
    """To sample it."""
    rows: float
    """Its rows that are trained: the noise levels of an image, less what is left out on average."""
    row: float
    """The passes of one row, with its backward passes in units of forward passes."""

    @property
    def training(self) -> float:
        """The passes of all its rows."""
        return self.rows * self.row

    @property
    def total(self) -> float:
        """All of them."""
        return self.sampling + self.training


def row_passes(old: float, reference: float, backward: float, mode: str = "lora") -> float:
    """The passes of a row: of the trained policy, and of others.

    ``old`` and ``reference`` are the shares of rows that run the old and the reference policy, and
    ``backward`` is the number of backward passes of a row.
    """
    return 1.0 + old + reference + BACKWARD[mode] * backward


def step_passes(recipe: Recipe, *, on_policy: bool = False) -> ImagePasses:
    """The passes of a measured step.

    ``on_policy`` is whether the old policy is still the trained one, as in the first steps: then it
    doesn't run, and there is no pull. Otherwise the pull and the regulariser take a backward pass
    of their own, on ``training.pull_share`` of the rows.
    """
    training = recipe.training
    old, pull = (0.0, 0.0) if on_policy else (1.0, 1.0)
    penalty = float(training.kl_weight > 0.0)
    if training.gradients == "backward":
        # A backward pass for each reward, and one for the regulariser, on all rows.
        row = row_passes(old, penalty, len(recipe.rewards) + penalty, recipe.model.mode)
    else:
        share = training.pull_share
        backward = 1.0 + share * (pull + penalty)
        row = row_passes(old, share * penalty, backward, recipe.model.mode)
    return ImagePasses(recipe.sampling.steps, recipe.trained_share * training.noise_levels, row)
