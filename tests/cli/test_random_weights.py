"""``--random-weights``: a folder of configurations trains, resumes and is evaluated."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

Marble = Callable[..., Any]

QUICK = ("--set", "eval.train_prompts=1", "--set", "checkpoint.every=1")


@pytest.fixture
def bare(tiny_folder: Path, recipe: Path) -> Path:
    """A recipe whose model has configurations, and neither weights nor tokenizers."""
    folder = recipe.parent / "model"
    shutil.rmtree(folder)
    ignored = shutil.ignore_patterns("*.safetensors", "tokenizer*")
    shutil.copytree(tiny_folder, folder, ignore=ignored)
    return recipe


def checkpoint(run: Path, step: int) -> dict[str, Any]:
    folder = run / "checkpoints" / f"step-{step:06d}"
    return {
        f"{file.stem}.{name}": value
        for file in sorted(folder.glob("*.safetensors"))
        for name, value in load_file(file).items()
    }


def test_it_trains_resumes_to_the_same_bits_and_is_evaluated(
    marble: Marble, bare: Path, tmp_path: Path
) -> None:
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    random = ("train", bare, "--random-weights", *QUICK)
    assert marble(*random, "--set", "training.steps=2", "--run-dir", straight).code == 0
    assert marble(*random, "--set", "training.steps=1", "--run-dir", stopped).code == 0
    resumed = ("--resume", "--run-dir", stopped, "--set", "training.steps=2")
    assert marble(*random, *resumed).code == 0
    wanted, found = checkpoint(straight, 2), checkpoint(stopped, 2)
    assert wanted.keys() == found.keys()
    assert all(value.equal(found[name]) for name, value in wanted.items())
    without = marble("train", bare, *QUICK, *resumed)
    assert without.code == 2
    assert "another model.random_weights" in without.err
    evaluated = marble("eval", stopped)
    assert evaluated.code == 0, evaluated.err
    assert "shapes-colour" in evaluated.out


def test_it_is_the_override_by_another_name(marble: Marble, bare: Path) -> None:
    # A measured speed would differ from one command to the next.
    plan = ("train", bare, "--dry-run", "--speed", 1)
    shown = marble(*plan, "--random-weights")
    set_instead = marble(*plan, "--set", "model.random_weights=true")
    assert shown.out == set_instead.out
    assert "random" in shown.out


def test_without_it_a_folder_without_weights_is_one_line(
    marble: Marble, bare: Path, tmp_path: Path
) -> None:
    shown = marble("train", bare, "--run-dir", tmp_path / "run")
    assert shown.code == 1
    assert "can't load the model" in shown.err
    assert "Traceback" not in shown.err


def test_a_hub_id_that_isnt_shipped_is_refused_with_the_choices(marble: Marble, bare: Path) -> None:
    override = "model.pretrained=stabilityai/stable-diffusion-3.5-medum"
    shown = marble("train", bare, "--random-weights", "--set", override)
    assert shown.code == 2
    assert "did you mean 'stabilityai/stable-diffusion-3.5-medium'" in shown.err
    assert "stabilityai/stable-diffusion-3.5-large" in shown.err
    assert shown.err.count("\n") == 1


def test_a_missing_configuration_is_named(marble: Marble, bare: Path) -> None:
    (bare.parent / "model" / "vae" / "config.json").unlink()
    shown = marble("train", bare, "--random-weights", "--dry-run")
    assert shown.code == 2
    assert "vae/config.json" in shown.err
