from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from marblecli.cli.setup import load_plan
from marblecli.cli.train import memory
from marblecli.cli.train.memory import device_memory, reward_weights
from marblecli.planning.plan import GIB
from support.planning import TINY, WIDE

Marble = Callable[..., Any]
InstallPlugin = Callable[..., None]

LARGE_STEP = ("--set", "training.micro_batch_size=6")
PLUGIN = """
from marblecli.rewards import HubFiles, NoOptions, RewardSpec, hookimpl

class Options(NoOptions):
    pass

@hookimpl
def marble_register_rewards(register):
    def build(options, device):
        return lambda batch: [0.0] * len(batch.prompts)
    files = lambda options: (HubFiles("someone/weights", "0" * 40, ("*.safetensors",)),)
    register(RewardSpec("heavy", "", build, options=Options, files=files))
"""


@pytest.fixture(autouse=True)
def _no_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(memory, "_DRIVER", tmp_path / "no driver")
    monkeypatch.setattr(memory.shutil, "which", lambda name: None)


@pytest.fixture
def wide(recipe: Path, tmp_path: Path) -> Path:
    """A recipe whose model has half a billion parameters, and configurations only."""
    folder = tmp_path / "wide"
    for file in TINY.rglob("*.json"):
        place = folder / file.relative_to(TINY)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(file.read_text())
    config = folder / "transformer" / "config.json"
    config.write_text(json.dumps({"_class_name": "SD3Transformer2DModel", **WIDE}))
    text = recipe.read_text().splitlines()
    changed = {
        "pretrained": f'"{folder}"',
        "dtype": '"bf16"',
        # For all tests the same: the passes are simulated once.
        "resolution": "512",
    }
    lines = {key: f"{key} = {value}" for key, value in changed.items()}
    recipe.write_text("\n".join(lines.get(one.split(" =")[0], one) for one in text))
    return recipe


@pytest.mark.slow
def test_what_doesnt_fit_is_refused_with_what_would(marble: Marble, wide: Path) -> None:
    shown = marble("train", wide, "--dry-run", "--memory", 8, *LARGE_STEP)
    assert shown.code == 2
    assert "memory of the device in GiB, counted, not measured" in shown.out
    assert "the recipe is valid" not in shown.out
    first, second, *changes = shown.err.splitlines()
    assert first.startswith("marble: needs ")
    assert first.endswith("and 8.0 GiB are there")
    assert second == "marble: it fits with, in order of effect:"
    overrides = [line.split()[2] for line in changes]
    taken = [part for override in overrides for part in ("--set", override)]
    again = marble("train", wide, "--dry-run", "--memory", 8, *LARGE_STEP, *taken)
    assert again.code == 0
    assert "the recipe is valid; nothing was loaded" in again.out


@pytest.mark.slow
def test_what_cant_fit_gets_the_nearest(marble: Marble, wide: Path) -> None:
    shown = marble("train", wide, "--dry-run", "--memory", 2)
    assert shown.code == 2
    assert "nothing makes it fit; nearest:" in shown.err
    assert "a smaller model or sampling.resolution" in shown.err


def test_without_a_gpu_the_table_is_shown_and_nothing_refused(marble: Marble, wide: Path) -> None:
    shown = marble("train", wide, "--dry-run", *LARGE_STEP)
    assert shown.code == 0
    header = next(
        line for line in shown.out.splitlines() if "sampling" in line and "update" in line
    )
    for phase in ("prompts", "sampling", "decoding", "gradients", "update"):
        assert phase in header
    assert "with gradient checkpointing" in shown.out
    assert "; the device has" not in shown.out


def test_a_cuda_devices_memory_is_the_limit(
    marble: Marble, wide: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory.shutil, "which", lambda name: "/usr/bin/nvidia-smi")
    assert device_memory() is None or torch.cuda.is_available()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    properties = SimpleNamespace(total_memory=8 * GIB)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    assert device_memory() == 8 * GIB
    # With a speed, nothing is measured on the device that isn't there.
    shown = marble("train", wide, "--dry-run", "--speed", 1, *LARGE_STEP)
    assert shown.code == 2
    assert "8.0 GiB are there" in shown.err
    given = marble("train", wide, "--dry-run", "--memory", 80, *LARGE_STEP)
    assert given.code == 0


def test_a_model_whose_configuration_cant_be_read_shows_the_rest(
    marble: Marble, recipe: Path, empty_cache: Path
) -> None:
    override = "model.pretrained=someone/model"
    shown = marble("train", recipe, "--dry-run", "--memory", 24, "--set", override)
    assert shown.code == 0
    assert "memory: not counted: model_index.json of someone/model isn't in the" in shown.out
    assert "images a step" in shown.out


@pytest.mark.slow
def test_divided_weights_are_counted_for_the_processes_asked_for(
    marble: Marble, wide: Path
) -> None:
    asked = ("--dry-run", "--memory", 999, "--set", "model.mode=full", "--set", "model.shard=true")
    peaks = []
    for count in (1, 2):
        shown = marble("train", wide, *asked, "--num-processes", count)
        assert shown.code == 0
        assert ("with the weights that it gathers" in shown.out) == (count == 2)
        peaks.append(float(shown.out.partition("peak: ")[2].partition(" GiB")[0]))
    assert peaks[1] < 0.6 * peaks[0]


@pytest.mark.slow
def test_what_is_in_the_cpus_memory_is_counted_apart(marble: Marble, wide: Path) -> None:
    asked = ("--dry-run", "--memory", 24, "--set", "model.mode=full")
    small = ("--set", "measure.parts=false", "--set", "measure.slices_every=0")
    refused = marble("train", wide, *asked, *small)
    assert refused.code == 2
    assert "--set model.offload=true" in refused.err
    shown = marble("train", wide, *asked, *small, "--set", "model.offload=true")
    assert shown.code == 0
    assert "CPU: optimizer state" in shown.out
    assert "in the CPU's memory instead, for each process: " in shown.out


def test_memory_is_for_a_dry_run(marble: Marble, wide: Path) -> None:
    shown = marble("train", wide, "--memory", 24)
    assert shown.code == 2
    assert "--memory needs --dry-run" in shown.err


def test_auto_says_how_many_images_fit(marble: Marble, wide: Path) -> None:
    auto = ("--set", "training.micro_batch_size=auto")
    shown = marble("train", wide, "--dry-run", "--memory", 24, *auto)
    assert "by this count 6 fit" in shown.out or "by this count 3 fit" in shown.out


def test_rewards_weights_are_those_of_their_cached_files(
    recipe: Path, install_plugin: InstallPlugin, empty_cache: Path
) -> None:
    install_plugin("heavy", PLUGIN)
    recipe.write_text(recipe.read_text() + "[rewards.heavy]\n")

    def weights(*overrides: str) -> Any:
        return reward_weights(load_plan(recipe, overrides))

    assert weights()["heavy"].bytes is None
    assert weights()["shapes-colour"].bytes == 0
    snapshot = empty_cache / "models--someone--weights" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"w" * 5000)
    (snapshot / "README.md").write_bytes(b"x")
    assert weights()["heavy"].bytes == 5000
    assert weights("rewards.heavy.device=offload")["heavy"].offloaded
    assert "heavy" not in weights("rewards.heavy.device=cpu")


@pytest.mark.slow
def test_unknown_rewards_are_named(
    marble: Marble, wide: Path, install_plugin: InstallPlugin, empty_cache: Path
) -> None:
    install_plugin("heavy", PLUGIN)
    wide.write_text(wide.read_text() + "\n[rewards.heavy]\n")
    shown = marble("train", wide, "--dry-run")
    assert "unknown, and not in these figures: the weights of heavy" in shown.out
