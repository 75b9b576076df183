"""Scored batches made of random numbers."""

from __future__ import annotations

import numpy as np

from marblecli.types import IntArray, RewardTable


def random_table(seed: int, rewards: int = 4) -> tuple[RewardTable, IntArray]:
    """Scores of 8 groups of 6 images, and each image's group.

    The rewards' means and scales are orders apart, groups differ, rewards are correlated, and all
    but the first apply to some groups only.
    """
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(8), 6)
    mixing = rng.normal(size=(rewards, rewards))
    drawn = rng.normal(size=(48, rewards)) @ mixing + rng.normal(size=(8, rewards))[groups]
    values = 10.0 ** rng.uniform(-2, 2, rewards) * (drawn + rng.normal(size=rewards) * 5)
    applies = rng.random((8, rewards)) < 0.6
    applies[:, 0] = applies[0] = True
    valid = applies[groups]
    names = tuple("abcdefgh"[:rewards])
    return RewardTable(names, np.where(valid, values, 0.0), valid), groups
