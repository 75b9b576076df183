from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import CLIPVisionModel

import synthetic
from marblecli.rewards.spec import MovableScorer
from synthetic import random_prompts, synthetic_suite, tower_bytes


def test_rewards_take_their_towers_in_turn_and_score_differently() -> None:
    prompts = random_prompts(3)
    images = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with synthetic_suite(3, ["tiny", "none"], "cpu") as suite:
        table = suite.score(images, prompts)
    assert table.values.shape == (3, 3)
    assert not table.faults
    np.testing.assert_allclose(table.values[:, 1], images[:, 1].flatten(1).mean(1), rtol=1e-6)
    assert not np.allclose(table.values[:, 0], table.values[:, 2])


def test_the_weights_can_be_moved_and_their_bytes_are_known(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[CLIPVisionModel] = []
    plain = synthetic.drawn_part

    def drawn(*arguments: object) -> CLIPVisionModel:
        made.append(plain(*arguments))  # type: ignore[arg-type] # as they are
        return made[-1]

    monkeypatch.setattr(synthetic, "drawn_part", drawn)
    suite = synthetic_suite(1, ["tiny"], "cpu", offload=True)
    with suite:
        assert isinstance(suite._rewards[0].scorer, MovableScorer)
    assert tower_bytes("tiny", "cpu") == sum(p.nbytes for p in made[0].parameters())
    assert tower_bytes("none", "cuda") == 0


def test_on_cuda_the_weights_have_half_the_size() -> None:
    assert 2 * tower_bytes("small", "cuda") == tower_bytes("small", "cpu")
