from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import load


def test_paths_are_relative_to_the_recipe(
    folder: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    recipe = load(folder)
    assert recipe.prompts["ocr"].train == folder / "prompts" / "train.txt"
    assert recipe.prompts["ocr"].eval == folder / "prompts" / "test.jsonl"
    assert recipe.model.pretrained == str(folder / "tiny")


def test_overridden_paths_are_relative_to_the_recipe_too(folder: Path) -> None:
    (folder / "other.txt").write_text("x")
    recipe = load(folder, "prompts.ocr.train=other.txt")
    assert recipe.prompts["ocr"].train == folder / "other.txt"


def test_the_initial_adapter_is_relative_to_the_recipe(folder: Path) -> None:
    assert load(folder, "model.lora.init=a.safetensors").model.lora.init == folder / "a.safetensors"


def test_the_embedding_cache_is_relative_to_the_recipe(folder: Path) -> None:
    recipe = load(folder, "model.embedding_cache=cache")
    assert recipe.model.embedding_cache == folder / "cache"


def test_a_hub_id_stays_as_it_is(folder: Path) -> None:
    name = "stabilityai/stable-diffusion-3.5-medium"
    assert load(folder, f"model.pretrained={name}").model.pretrained == name
