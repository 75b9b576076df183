from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from marble_reward_shapes.tiny_sd3 import flow
from marble_reward_shapes.tiny_sd3.architecture import build_pipeline, transformer
from marble_reward_shapes.tiny_sd3.flow import CountedNullAttention, FlowSettings, train_flow


@pytest.mark.parametrize("nulls", [1, 7, 40])
def test_one_counted_null_is_that_many_nulls(nulls: int) -> None:
    torch.manual_seed(0)
    network = transformer()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    words = torch.randn(2, 5, 128)
    inputs = {
        "hidden_states": torch.randn(2, 8, 8, 8),
        "timestep": torch.tensor([300.0, 800.0]),
        "pooled_projections": torch.randn(2, 128),
    }
    plain = network(
        encoder_hidden_states=torch.cat([words, torch.zeros(2, nulls, 128)], dim=1), **inputs
    ).sample
    attention = CountedNullAttention()
    attention.log_count = math.log(nulls)
    network.set_attn_processor(attention)
    counted = network(
        encoder_hidden_states=torch.cat([words, torch.zeros(2, 1, 128)], dim=1), **inputs
    ).sample
    torch.testing.assert_close(counted, plain, rtol=1e-4, atol=1e-5)


def test_rate_warms_up_holds_and_ends_at_zero() -> None:
    settings = FlowSettings(steps=1000, decay_share=0.25)
    rates = [flow._rate(step, settings) for step in range(1001)]
    assert rates[0] == 1 / 200
    assert rates[199:751] == [1.0] * 552
    assert rates[875] == 0.5
    assert rates[1000] == 0.0


def test_stray_captions_are_those_of_other_scenes() -> None:
    prompts = [f"scene {number}" for number in range(10_000)]
    captions = flow._captions(prompts, 0.3, np.random.default_rng(0))
    kept = [caption for caption in captions if caption]
    wrong = [c for c, p in zip(captions, prompts, strict=True) if c and c != p]
    assert len(kept) / len(prompts) == pytest.approx(1 - flow.CAPTION_DROP, abs=0.01)
    assert len(wrong) / len(kept) == pytest.approx(0.3, abs=0.015)
    assert len(set(kept)) == len(kept)


def test_captions_are_right_unless_strays_are_asked_for() -> None:
    prompts = [f"scene {number}" for number in range(1000)]
    captions = flow._captions(prompts, 0.0, np.random.default_rng(0))
    assert all(caption in ("", prompt) for caption, prompt in zip(captions, prompts, strict=True))


@pytest.mark.slow
def test_training_lowers_the_loss_and_keeps_the_vae(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flow, "POOL", 512)
    torch.manual_seed(0)
    pipeline = build_pipeline()
    pipeline.vae.register_to_config(shift_factor=0.0, scaling_factor=1.0)
    vae = {name: value.clone() for name, value in pipeline.vae.state_dict().items()}
    lines: list[str] = []
    snapshots: list[int] = []
    settings = FlowSettings(steps=100, batch_size=16)
    train_flow(pipeline, settings, 0, lines.append, snapshots.append)
    assert snapshots == [100]
    assert float(lines[-1].rsplit(" ", 1)[1]) < 2.0
    assert all(torch.equal(value, vae[name]) for name, value in pipeline.vae.state_dict().items())
    assert not pipeline.transformer.training
