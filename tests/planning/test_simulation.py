from __future__ import annotations

import time
from typing import Any

import pytest
import torch

from marblecli.models.architectures import Architecture, shipped_architecture
from marblecli.models.blueprint import build_part
from marblecli.planning.live_bytes import LiveBytes
from marblecli.planning.micro_step import GradientCase
from marblecli.planning.simulation import Simulation
from marblecli.planning.subject import Subject
from support.planning import (
    CONTRACTED,
    RESOLUTION,
    model_of,
    small_simulation,
    small_subject,
    uncollected,
)

MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


def vae_config(widths: tuple[int, ...]) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "latent_channels": 8,
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "scaling_factor": 1.0,
        "shift_factor": 0.0,
        "use_post_quant_conv": False,
    }


def with_vae(widths: tuple[int, ...]) -> Subject:
    parts = small_subject().architecture.parts
    return Subject(Architecture("", {}, {**parts, "vae": vae_config(widths)}))


@pytest.mark.parametrize(
    ("widths", "resolution", "tiled"),
    [((32, 64, 128), 64, False), ((16, 64), 64, False), ((8, 8, 16, 16), 640, True)],
)
def test_decoding_holds_what_the_real_decoder_holds(
    widths: tuple[int, ...], resolution: int, tiled: bool
) -> None:
    subject, model = with_vae(widths), model_of(dtype="fp32", vae_tiling=tiled)
    vae = build_part("vae", subject.architecture.parts["vae"]).eval()
    decoder, latents = subject.frozen({"vae": vae}, model), subject.latent_shape(resolution)
    noise = torch.randn(3, *latents)
    with uncollected(), LiveBytes() as live:
        decoder.decode(noise)
    assert Simulation(subject).decoding(model, resolution, 3) == pytest.approx(live.peak, rel=0.01)


def test_tiling_by_hand() -> None:
    """Of SD3.5 Medium's VAE, in bf16: 384 MiB for each 512 x 512 pixels at a time."""
    simulation = Simulation(Subject(shipped_architecture(MEDIUM)))
    one = 384 * 2**20
    found = {
        (resolution, tiled): simulation.decoding(model_of(vae_tiling=tiled), resolution, images)
        for resolution, tiled, images in ((512, True, 1), (512, False, 4), (1024, True, 1))
    }
    assert found[512, True] == pytest.approx(one, rel=0.05)
    assert found[512, False] == pytest.approx(4 * one, rel=0.05)
    # Of 512, 512 and 256 pixels each way, four are decoded before the last whole one.
    waiting = 2 * 3 * 512 * (512 + 512 + 256 + 512)
    assert found[1024, True] == pytest.approx(one + waiting, rel=0.05)


def test_prompts_hold_what_real_encoders_hold() -> None:
    subject, model = small_subject(), model_of(dtype="fp32")
    parts = {
        name: build_part(name, subject.architecture.parts[name]).eval()
        for name in ("vae", *subject.encoders(model))
    }
    encoder = subject.frozen(parts, model)
    with uncollected(), LiveBytes() as live:
        encoder.encode(["a"] * 32)
    assert small_simulation().encoding(model) == pytest.approx(live.peak, rel=0.05)


def test_what_was_measured_is_remembered() -> None:
    simulation = Simulation(small_subject())
    case = simulation.case(model_of(), RESOLUTION, 1)
    first = simulation.row(case, CONTRACTED, checkpointing=False)
    started = time.perf_counter()
    # Neither the text encoder nor the VAE changes how the policies run.
    other = simulation.case(model_of(t5="none", vae_tiling=True), RESOLUTION, 1)
    assert simulation.row(other, CONTRACTED, checkpointing=False) == first
    assert time.perf_counter() - started < 0.1
    larger = simulation.case(model_of(max_sequence_length=16), RESOLUTION, 1)
    assert simulation.row(larger, CONTRACTED, checkpointing=False) > first


def test_sd35_mediums_image_by_hand() -> None:
    """24 layers, 13 with a second attention; 1024 image and 205 context tokens, bf16."""
    simulation = Simulation(Subject(shipped_architecture(MEDIUM)))
    case = simulation.case(model_of(max_sequence_length=128), 512, 1)
    passes = GradientCase(rewards=5, kind="contracted", regularised=True, amortised=False)
    # Per token and width: 4 + 4 for two norms, 4 for the adapters' input, 12 for queries and keys,
    # 8 in attention, 2 for its output, 8 in the feed-forward; 12 + 8 more for a second attention.
    image = 1024 * 1536 * (42 + 20 * 13 / 24)
    context = 205 * 1536 * 42
    row = simulation.row(case, passes, checkpointing=False)
    assert row == pytest.approx(24 * (image + context), rel=0.03)
    # Eight projections of 24 layers; the last layer has no projection of the context's output.
    assert simulation.trained(case) == (24 * 8 - 1) * 2 * 1536 * 32


@pytest.mark.slow
def test_a_plan_of_sd35_large_takes_at_most_twenty_seconds_of_one_core() -> None:
    started = time.process_time()
    simulation = Simulation(Subject(shipped_architecture("stabilityai/stable-diffusion-3.5-large")))
    model = model_of(max_sequence_length=128, gradient_checkpointing=True)
    case = simulation.case(model, 512, 1)
    passes = GradientCase(rewards=5, kind="contracted", regularised=True, amortised=False)
    simulation.micro_step(case, passes)
    simulation.row(case, passes, checkpointing=False)
    simulation.sampling(case)
    simulation.decoding(model, 512, 24)
    simulation.encoding(model)
    assert time.process_time() - started < 20
