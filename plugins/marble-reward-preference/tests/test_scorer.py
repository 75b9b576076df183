from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from marble_reward_preference.scorer import ModelScorer
from marble_reward_preference.shared import lease
from marblecli.rewards import RewardBatch


class Product(ModelScorer):
    """A matrix product, which autocast would round."""

    def score(self, batch: RewardBatch) -> Tensor:
        assert not torch.is_grad_enabled()
        with self._model.use() as module:
            return module(batch.images)[:, 0] @ torch.eye(len(batch.images))


def test_autocast_and_gradients_reach_no_part_of_a_score() -> None:
    torch.manual_seed(0)
    scorer = Product(lease("product", "cpu", lambda: nn.Linear(64, 1)))
    batch = RewardBatch(torch.randn(3, 64), ["a"] * 3, [{}] * 3)
    plain = np.asarray(scorer(batch))
    with torch.autocast("cpu", torch.bfloat16):
        np.testing.assert_array_equal(scorer(batch), plain)
    assert plain.shape == (3,)
    assert plain.dtype == np.float32
