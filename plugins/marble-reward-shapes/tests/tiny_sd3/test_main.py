from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel

from marble_reward_shapes.tiny_sd3 import architecture
from marble_reward_shapes.tiny_sd3.__main__ import _load, save


def test_going_on_from_a_pipeline_changes_nothing_by_itself(tmp_path: Path) -> None:
    torch.manual_seed(0)
    pipeline = architecture.build_pipeline()
    vae = architecture.vae()
    vae.register_to_config(shift_factor=0.25, scaling_factor=0.75)
    pipeline.register_modules(vae=vae)
    save(pipeline, tmp_path / "first")
    save(_load(tmp_path / "first"), tmp_path / "second")
    for part in ("vae", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3"):
        first, second = (
            (tmp_path / name / part / "config.json").read_text() for name in ("first", "second")
        )
        assert first == second
        assert str(tmp_path) not in second
    for kind, part in ((AutoencoderKL, "vae"), (SD3Transformer2DModel, "transformer")):
        first, second = (kind.from_pretrained(tmp_path / n / part) for n in ("first", "second"))
        for one, other in zip(first.parameters(), second.parameters(), strict=True):
            assert torch.equal(one, other)
    assert second.config.in_channels == 8
    loaded = AutoencoderKL.from_pretrained(tmp_path / "second" / "vae")
    assert (loaded.config.shift_factor, loaded.config.scaling_factor) == (0.25, 0.75)
