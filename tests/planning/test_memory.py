from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, SD3Transformer2DModel, StableDiffusion3Pipeline
from torch import Tensor, nn

from marblecli.models.architectures import Architecture, folder_architecture, shipped_architecture
from marblecli.models.backbone import Backbone
from marblecli.models.conditioning import Conditioning
from marblecli.models.dtypes import DTYPES
from marblecli.models.make_policies import make_policies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.planning.memory import (
    GIB,
    PHASES,
    MemoryPlan,
    Phase,
    RewardWeights,
    count_memory,
)
from marblecli.settings import ModelSettings, Recipe
from marblecli.train.contraction import BackwardPass, Contraction

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


def recipe_of(**tables: dict[str, Any]) -> Recipe:
    """Two rewards, one source; six images of 32 pixels a step."""
    small = {"resolution": 32, "steps": 4, "group_size": 3, "prompts_per_step": 2, "batch_size": 3}
    model = {"pretrained": str(TINY), "dtype": "fp32", "max_sequence_length": 1}
    table = {
        "model": {**model, **tables.pop("model", {})},
        "prompts": {"scenes": {"train": "x.txt"}},
        "rewards": {"a": {}, "b": {}},
        "sampling": {**small, **tables.pop("sampling", {})},
        "training": {
            "steps": 1,
            "micro_batch_size": 4,
            "noise_levels": 2,
            **tables.pop("training", {}),
        },
        **tables,
    }
    return Recipe.model_validate(table)


def count(**tables: dict[str, Any]) -> MemoryPlan:
    return count_memory(recipe_of(**tables), folder_architecture(TINY), {})


def medium(**tables: dict[str, Any]) -> MemoryPlan:
    """SD3.5 Medium at 512 pixels, in bf16."""
    model = {"pretrained": MEDIUM, "dtype": "bf16", "max_sequence_length": 128}
    tables["model"] = {**model, **tables.get("model", {})}
    tables["sampling"] = {"resolution": 512, **tables.get("sampling", {})}
    return count_memory(recipe_of(**tables), shipped_architecture(MEDIUM), {})


def row(plan: MemoryPlan, label: str) -> dict[Phase, int]:
    (found,) = [item for item in plan.items if item.label.startswith(label)]
    return dict(found.bytes)


def held(*modules: nn.Module) -> int:
    return sum(
        value.nbytes
        for module in modules
        for value in (*module.parameters(), *module.buffers())
        if value.is_floating_point()
    )


@pytest.fixture(scope="module")
def pipeline() -> StableDiffusion3Pipeline:
    return StableDiffusion3Pipeline.from_pretrained(TINY)


def test_frozen_parts_take_what_a_loaded_pipeline_takes(
    pipeline: StableDiffusion3Pipeline,
) -> None:
    plan = count()
    assert set(row(plan, "VAE").values()) == {held(pipeline.vae)}
    assert set(row(plan, "transformer (frozen)").values()) == {held(pipeline.transformer)}
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3)
    assert row(plan, "text encoders") == {"prompts": held(*encoders)}
    assert set(row(plan, "VAE")) == set(PHASES)


@pytest.mark.parametrize("mode", ["lora", "full"])
def test_what_belongs_to_trained_weights_takes_what_it_takes(mode: str) -> None:
    transformer = SD3Transformer2DModel.from_pretrained(TINY / "transformer")
    settings = ModelSettings.model_validate({"pretrained": "x", "dtype": "fp32", "mode": mode})
    policies = make_policies(SD3, transformer, settings)
    plan = count(model={"mode": mode})
    trained = sum(p.nbytes for p in policies.trained_parameters().values())
    assert plan.trained == trained // 4
    own = held(policies.network("trained")) if mode == "full" else trained
    for label, size in (
        ("trained weights", own),
        ("old policy", own),
        ("moving average", trained),
        ("optimizer state", 2 * trained),
        ("gradient accumulators", 15 * trained),
        ("the update's copies", 2 * trained),
    ):
        assert row(plan, label)["update"] == size, label
    assert "prompts" not in row(plan, "trained weights")
    elsewhere = count(model={"mode": mode}, training={"ema_on_cpu": True})
    assert plan.total("update") - elsewhere.total("update") == elsewhere.cpu_peak == trained
    assert plan.cpu_peak == 0


@pytest.mark.parametrize(
    ("tables", "sets"),
    [
        # Two rewards: 2 x 2 halves and 2 pulls, the slices of one source and three thirds, and one
        # for the regulariser.
        ({}, 2 * 3 + 2 * (1 + 3) + 1),
        ({"measure": {"slices_every": 0}}, 2 * 3 + 1),
        ({"measure": {"parts": False}}, 2 + 1),
        ({"training": {"gradients": "backward"}}, 2 + 1),
    ],
)
def test_the_sets_of_gradients(tables: dict[str, Any], sets: int) -> None:
    plan = count(**tables)
    assert row(plan, f"gradient accumulators ({sets})")["gradients"] == sets * 4 * plan.trained


def test_fresh_images_have_gradients_of_their_own_beside() -> None:
    plan = count(measure={"fresh_every": 5, "parts": False})
    assert row(plan, "those of fresh images")["gradients"] == 7 * 4 * plan.trained


def test_settings_take_away_what_they_are_for() -> None:
    whole = medium()
    eight_bits, without = medium(model={"t5": "8bit"}), medium(model={"t5": "none"})
    t5 = row(whole, "text")["prompts"] - row(without, "text")["prompts"]
    assert t5 == 2 * 4_762_310_656
    # All but the words' vectors are halved.
    saved = row(whole, "text")["prompts"] - row(eight_bits, "text")["prompts"]
    assert saved == 4_762_310_656 - 32128 * 4096
    state = row(medium(training={"optimizer": "adamw-8bit"}), "optimizer state")["update"]
    assert state == row(whole, "optimizer state")["update"] // 4
    auto = medium(training={"micro_batch_size": "auto"})
    assert row(auto, "activations")["gradients"] == whole.row
    checkpointed = medium(model={"gradient_checkpointing": True})
    assert (checkpointed.row, checkpointed.row_otherwise) == (whole.row_otherwise, whole.row)
    assert checkpointed.row < whole.row / 20


def sharded(processes: int, **model: Any) -> MemoryPlan:
    recipe = recipe_of(
        model={"pretrained": MEDIUM, "dtype": "bf16", "mode": "full", **model},
        sampling={"resolution": 512},
        measure={"parts": False},
    )
    return count_memory(recipe, shipped_architecture(MEDIUM), {}, processes)


def test_divided_weights_and_all_of_their_size_are_shared_out() -> None:
    whole, half = sharded(4), sharded(4, shard=True)
    parameters, positions = 2_243_171_520, 226_492_416
    assert row(half, "moving average")["update"] == parameters
    assert row(half, "optimizer state")["update"] == 2 * parameters
    assert row(half, "trained weights")["update"] == parameters + 4 * positions
    assert row(half, "reference")["update"] == 2 * (parameters // 4 + positions)
    for label in ("gradient accumulators", "the update's copies"):
        assert row(half, label)["update"] == row(whole, label)["update"] // 4
    assert "prompts" not in row(half, "reference")
    # The largest block is whole for a moment; a copy of all weights in bf16 isn't kept.
    blocks = row(half, "whole weights of 3 blocks")["gradients"]
    assert 3 * 4 * parameters / 24 < blocks < 1.3 * 3 * 4 * parameters / 24
    assert row(half, "a pass over it")["gradients"] < row(whole, "a pass over it")["gradients"]
    assert half.trained == whole.trained == parameters


def test_offloaded_weights_and_all_of_their_size_are_on_the_cpu() -> None:
    plan, plain = sharded(1, offload=True), sharded(1)
    parameters, positions = 2_243_171_520, 226_492_416
    with torch.device("meta"):
        network = SD3Transformer2DModel.from_config(
            shipped_architecture(MEDIUM).parts["transformer"]
        )
    for label, size in (("reference", 2), ("trained weights", 4), ("old policy", 4)):
        pinned = sum(2 ** (size * p.numel() - 1).bit_length() for p in network.parameters())
        assert row(plan, label)["update"] == pytest.approx(pinned, rel=1e-3)
    weights = sum(row(plan, each)["update"] for each in ("reference", "trained", "old policy"))
    # Average, two moments, three accumulators, two copies.
    assert plan.cpu_peak == weights + 4 * (1 + 2 + 3 + 2) * parameters
    assert row(plan, "positions")["sampling"] == (2 + 4 + 4) * positions
    blocks = row(plan, "whole weights of 3 blocks")["gradients"]
    unpinned = (2 + 4 + 4) * parameters
    assert plain.total("update") - plan.total("update") == plan.cpu_peak - weights + unpinned
    sent = row(plan, "gradients sent")["gradients"]
    # A copy of all weights in bf16 isn't kept either.
    copies = row(plain, "a pass over it")["gradients"] - row(plan, "a pass over it")["gradients"]
    gone = plain.total("gradients") - plan.total("gradients")
    assert gone == unpinned + 4 * (1 + 2 + 3) * parameters - blocks - sent + copies
    half = sharded(2, offload=True)
    assert half.cpu_peak == pytest.approx(plan.cpu_peak / 2, rel=0.01)
    assert half.total("update") == plan.total("update")


def test_one_process_divides_nothing() -> None:
    assert sharded(1, shard=True) == sharded(1) == sharded(8)


def test_sd35_mediums_largest_figures_by_hand() -> None:
    plan = medium(training={"micro_batch_size": 9}, sampling={"group_size": 24})
    # 2.243 billion parameters and 226 million positions in bf16.
    assert row(plan, "transformer")["sampling"] == 2 * (2_243_171_520 + 226_492_416)
    # Forty-eight images of 77 + 128 tokens of 4096 and a pooled vector of 2048, in bf16.
    assert row(plan, "the step's prompts")["update"] == 48 * 2 * (205 * 4096 + 2048)
    assert row(plan, "the step's latents")["update"] == 48 * 4 * 16 * 64 * 64
    assert row(plan, "activations")["gradients"] / GIB == pytest.approx(19.24, abs=0.05)
    assert plan.peak == "gradients"
    assert plan.total("prompts") / GIB == pytest.approx(11.9, abs=0.1)


def test_rewards_are_there_while_they_score_and_offloaded_ones_only_then() -> None:
    rewards = {
        "a": RewardWeights(3 * GIB),
        "b": RewardWeights(5 * GIB, offloaded=True),
        "c": RewardWeights(None),
    }
    plan = count_memory(recipe_of(), folder_architecture(TINY), rewards)
    assert row(plan, "rewards' weights") == {
        "sampling": 8 * GIB,
        "decoding": 8 * GIB,
        "gradients": 3 * GIB,
        "update": 3 * GIB,
    }
    assert plan.unknown_rewards == ("c",)


def test_excess_is_summed_over_the_phases_that_dont_fit() -> None:
    plan = count()
    totals = [plan.total(phase) for phase in PHASES]
    assert plan.total(plan.peak) == max(totals)
    assert plan.excess(max(totals)) == 0
    assert plan.excess(0) == sum(totals)


def vae_config(widths: tuple[int, ...]) -> dict[str, Any]:
    return {
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "latent_channels": 8,
        "layers_per_block": 2,
        "norm_num_groups": 8,
        "use_post_quant_conv": False,
    }


@pytest.mark.parametrize("widths", [(32, 64, 128), (32, 32, 32), (16, 64)])
def test_the_decoders_peak_is_what_it_holds(widths: tuple[int, ...], live_bytes: Any) -> None:
    config = vae_config(widths)
    tiny = folder_architecture(TINY)
    architecture = Architecture("", {}, {**tiny.parts, "vae": config})
    recipe = recipe_of(sampling={"resolution": 64})
    vae = AutoencoderKL.from_config(config).eval()
    side = 64 // 2 ** (len(widths) - 1)
    with torch.no_grad(), live_bytes:
        vae.decode(torch.randn(3, 8, side, side))
    counted = row(count_memory(recipe, architecture, {}), "decoding 3 images")["decoding"]
    # The images themselves are counted beside, in float32, twice.
    images = 2 * 4 * 3 * 3 * 64**2
    assert counted - images == pytest.approx(live_bytes.peak, rel=0.02)


@pytest.mark.parametrize("resolution", [512, 640, 1024])
def test_with_tiling_the_decoders_peak_is_a_tiles_beside_those_decoded(
    resolution: int, live_bytes: Any
) -> None:
    config = vae_config((8, 8, 16, 16))
    tiny = folder_architecture(TINY)
    architecture = Architecture("", {}, {**tiny.parts, "vae": config})
    recipe = recipe_of(
        model={"vae_tiling": True}, sampling={"resolution": resolution, "batch_size": 1}
    )
    vae = AutoencoderKL.from_config({**config, "scaling_factor": 1.0, "shift_factor": 0.0}).eval()
    backbone = Backbone(SD3Frozen(SimpleNamespace(vae=vae, vae_scale_factor=8), recipe.model))
    latents = torch.randn(1, 8, resolution // 8, resolution // 8)
    with live_bytes:
        backbone.decode(latents)
    counted = row(count_memory(recipe, architecture, {}), "decoding")["decoding"]
    # The image that is assembled and its float copy come when the decoder holds nothing any more.
    image = 2 * 4 * 3 * resolution**2
    assert counted - image == pytest.approx(live_bytes.peak, rel=0.02)


def test_tiling_by_hand() -> None:
    """Of SD3.5 Medium's VAE, in bf16: 384 MiB for each 512 x 512 pixels at a time."""

    def decoding(resolution: int, *, tiled: bool) -> int:
        sampling = {"resolution": resolution, "batch_size": 6}
        plan = medium(model={"vae_tiling": tiled}, sampling=sampling)
        images = 2 * 4 * 6 * 3 * resolution**2
        return row(plan, "decoding")["decoding"] - images

    one = decoding(512, tiled=True)
    assert one == 384 * 2**20
    assert decoding(512, tiled=False) == decoding(1024, tiled=False) == 4 * one
    # Of 512, 512 and 256 pixels each way, four are decoded before the last whole one.
    assert decoding(1024, tiled=True) == one + 2 * 3 * 512 * (512 + 512 + 256 + 512)


# How much a whole pass holds, on four layers of width 512.

SIDE, CONTEXT, ROWS = 24, 105, 2
SMALL = {
    "sample_size": SIDE,
    "in_channels": 8,
    "out_channels": 8,
    "num_layers": 4,
    "num_attention_heads": 8,
    "attention_head_dim": 64,
    "joint_attention_dim": 64,
    "caption_projection_dim": 512,
    "pooled_projection_dim": 32,
    "pos_embed_max_size": SIDE,
    "dual_attention_layers": (0, 1),
    "qk_norm": "rms_norm",
}


def small_model(mode: str, checkpointing: bool) -> dict[str, Any]:
    length = CONTEXT - 12
    table = {"pretrained": "x", "mode": mode, "dtype": "bf16", "max_sequence_length": length}
    return {**table, "gradient_checkpointing": checkpointing}


def small_policies(model: dict[str, Any]) -> Policies:
    transformer = SD3Transformer2DModel.from_config(SMALL)
    settings = ModelSettings.model_validate(model)
    if settings.mode == "lora":
        for value in (*transformer.parameters(), *transformer.buffers()):
            value.data = value.data.to(DTYPES[settings.dtype])
    return make_policies(SD3, transformer, settings)


def small_plan(model: dict[str, Any], rows: int = ROWS) -> MemoryPlan:
    tiny = folder_architecture(TINY)
    parts = {**tiny.parts, "transformer": SMALL}
    # 24 places of the latents: the tiny VAE makes 96 pixels of them.
    sampling = {"resolution": 4 * SIDE, "batch_size": rows, "group_size": rows}
    recipe = recipe_of(model=model, sampling=sampling, training={"micro_batch_size": rows})
    return count_memory(recipe, Architecture("", {}, parts), {})


Inputs = tuple[Tensor, Tensor, Conditioning]


@pytest.fixture
def inputs_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Inputs]:
    plain = nn.functional.layer_norm
    # As CUDA's autocast has it.
    monkeypatch.setattr(nn.functional, "layer_norm", lambda x, *a, **o: plain(x.float(), *a, **o))

    def of(rows: int) -> Inputs:
        context, pooled = torch.randn(rows, CONTEXT, 64), torch.randn(rows, 32)
        conditioning = Conditioning({"context": context.bfloat16(), "pooled": pooled.bfloat16()})
        return torch.randn(rows, 8, SIDE, SIDE), torch.full((rows,), 0.5), conditioning

    return of


@pytest.mark.parametrize(
    ("mode", "rows", "checkpointing"),
    [
        ("lora", ROWS, False),
        ("lora", ROWS, True),
        ("full", ROWS, False),
        ("full", ROWS, True),
        ("full", 4 * ROWS, True),
    ],
)
def test_a_micro_batch_holds_about_what_is_counted(
    mode: str, rows: int, checkpointing: bool, inputs_of: Callable[[int], Inputs], live_bytes: Any
) -> None:
    """Few rows in full mode: a copy of all weights. Many: a gradient of a layer for each row."""
    model = small_model(mode, checkpointing)
    policies, plan = small_policies(model), small_plan(model, rows)
    parameters = list(policies.trained_parameters().values())
    network, checkpoints = policies.network("trained"), policies.checkpoints
    contraction = Contraction(network, parameters, 3, checkpoints)
    with live_bytes, contraction.tapped():
        velocity = policies.velocity("trained", *inputs_of(rows))
        one = torch.randn_like(velocity)
        passes = [BackwardPass(one, torch.ones(rows, 1), slice(n, n + 1)) for n in range(3)]
        contraction.backward(velocity, passes)
    counted = sum(row(plan, label)["gradients"] for label in ("activations", "a pass over it"))
    assert counted == pytest.approx(live_bytes.peak, rel=0.05)


def test_a_pass_without_gradients_holds_about_what_is_counted(
    inputs_of: Callable[[int], Inputs], live_bytes: Any
) -> None:
    model = small_model("lora", checkpointing=False)
    policies, plan = small_policies(model), small_plan(model)
    with torch.no_grad(), live_bytes:
        policies.velocity("old", *inputs_of(ROWS))
    assert row(plan, "sampling 2 images")["sampling"] == pytest.approx(live_bytes.peak, rel=0.12)
