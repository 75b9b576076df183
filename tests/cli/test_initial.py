"""A run that starts from an adapter, whichever tool wrote it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from marblecli.cli.export.run import ExportRequest, export_run
from marblecli.cli.setup import load_plan
from marblecli.errors import RecipeError

Marble = Callable[..., Any]
Train = Callable[..., Path]
ADAPTERS = ("export", "export/tiny-comfyui.safetensors", "export/tiny-kohya.safetensors",
            "checkpoints/step-000004", "checkpoints/step-000004/ema.safetensors", ".")  # fmt: skip
FOLDED = "export/tiny-comfyui.safetensors"


@pytest.fixture(scope="session")
def first(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with its kohya file, too."""
    run = tmp_path_factory.mktemp("initial") / "run"
    shutil.copytree(finished_run, run)
    export_run(ExportRequest(run, "kohya"))
    return run


def evaluations(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_it_starts_as_the_adapter_and_the_reference_stays_the_base(
    first: Path, train_tiny: Train, tmp_path: Path, adapter: str
) -> None:
    # The file without alpha has it in B: there alpha is the rank.
    alpha = ["model.lora.alpha=2"] if adapter == FOLDED else []
    # No step: its rate is next to nothing.
    run = train_tiny(
        tmp_path / "run",
        f"model.lora.init={first / adapter}",
        "training.steps=1",
        "training.learning_rate=1e-30",
        "checkpoint.every=1",
        *alpha,
    )
    average = load_file(first / "checkpoints" / "step-000004" / "ema.safetensors")
    saved = run / "checkpoints" / "step-000001"
    for stem in ("trained", "old", "ema"):
        for name, tensor in load_file(saved / f"{stem}.safetensors").items():
            scale = 2.0 if alpha and "lora_B" in name else 1.0
            torch.testing.assert_close(tensor, average[name] * scale, atol=1e-7, rtol=1e-6)
    base, start, _ = evaluations(run)
    was_base, was_last = evaluations(first)
    assert (base["step"], start["step"]) == (0, 0)
    assert (base["subject"], start["subject"]) == ("base", "trained")
    for split in ("train", "held-out"):
        assert base[split] == was_base[split]
        # Scores of uint8 pixels, of which rounding may move one.
        assert start[split] == pytest.approx(was_last[split], abs=1e-4)


def test_the_average_goes_on_from_the_adapter_and_resuming_is_exact(
    first: Path, train_tiny: Train, tmp_path: Path
) -> None:
    adapter = tmp_path / "adapter.safetensors"
    shutil.copy(first / "export" / "pytorch_lora_weights.safetensors", adapter)
    overrides = (f"model.lora.init={adapter}", "checkpoint.every=1")
    straight = train_tiny(tmp_path / "straight", *overrides, "training.steps=2")
    half = train_tiny(tmp_path / "half", *overrides, "training.steps=1")
    # What it started from is needed no more.
    adapter.unlink()
    train_tiny(half, *overrides, "training.steps=2", resume=True)
    for stem in ("trained", "old", "ema", "optimizer"):
        name = f"checkpoints/step-000002/{stem}.safetensors"
        theirs = load_file(straight / name)
        for key, tensor in load_file(half / name).items():
            assert torch.equal(tensor, theirs[key])


def faults(recipe: Path, adapter: Path, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        load_plan(recipe, [f"model.lora.init={adapter}", *overrides], starting=True)
    return [str(problem) for problem in caught.value.problems]


def test_another_shape_is_refused_with_what_to_set(tiny_recipe: Path, first: Path) -> None:
    export = first / "export"
    changed = ("model.lora.rank=3", "model.lora.alpha=9", 'model.lora.targets=["attn.to_q"]')
    found = faults(tiny_recipe, export, *changed)
    assert found[0] == (
        f"model.lora.rank: is 3, and the adapter {export} has 2: set model.lora.rank = 2"
    )
    assert found[1].endswith("set model.lora.alpha = 4.0")
    assert "adapts 13 that the recipe doesn't, such as transformer_blocks.0.attn" in found[2]
    advice = found[2].partition("set model.lora.targets = ")[2]
    again = [f"model.lora.targets={advice}", f"model.lora.init={export}"]
    assert load_plan(tiny_recipe, again, starting=True).recipe.model.lora.rank == 2


def test_what_is_no_adapter_for_the_model_is_refused(
    tiny_recipe: Path, first: Path, tmp_path: Path
) -> None:
    (gone,) = faults(tiny_recipe, tmp_path / "gone.safetensors")
    assert "model.lora.init" in gone
    assert "no adapter there" in gone
    save_file({"transformer.x.lora_A.weight": torch.ones(2, 2)}, tmp_path / "x.safetensors")
    (strange,) = faults(tiny_recipe, tmp_path / "x.safetensors")
    assert "1 of 1 keys are of no adapter" in strange
    (full,) = faults(tiny_recipe, first / "export", "model.mode=full")
    assert full == 'model.lora.init: needs model.mode = "lora"'


def test_one_block_alone_is_named_by_whole_names(
    tiny_recipe: Path, first: Path, tmp_path: Path
) -> None:
    tensors = load_file(first / "export" / "pytorch_lora_weights.safetensors")
    part = {key: t for key, t in tensors.items() if ".0.attn.to_q." in key}
    save_file(part, tmp_path / "part.safetensors")
    found = faults(tiny_recipe, tmp_path / "part.safetensors", "model.lora.alpha=2")
    assert found[0].endswith("set model.lora.targets = the whole names of its layers")


def test_the_plan_checks_it_before_a_weight_loads(
    marble: Marble, tiny_recipe: Path, first: Path
) -> None:
    adapter = f"model.lora.init={first / 'export'}"
    shown = marble(
        "train", tiny_recipe, "--dry-run", "--set", adapter, "--set", "model.lora.rank=4"
    )
    assert shown.code == 2
    assert "model.lora.rank: is 4, and the adapter" in shown.err
