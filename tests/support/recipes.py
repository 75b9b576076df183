"""A recipe with its prompt files and a folder that looks like a model; it loads no weight."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import Problem, RecipeError
from marblecli.runs.recipe import load_recipe
from marblecli.settings import Recipe

RECIPE = """
[run]
name = "five"
[model]
pretrained = "tiny"
[model.lora]
rank = 4
[prompts.ocr]
train = "prompts/train.txt"
eval = "prompts/test.jsonl"
[prompts.plain]
train = "prompts/train.txt"
[rewards.sharp]
[rewards.read]
sources = ["ocr"]
weight = 2
language = "en"
[sampling]
steps = 10
[training]
steps = 5
noise_levels = 2
"""


def write_recipe(folder: Path) -> Path:
    """The recipe's file, with everything that it names beside it."""
    (folder / "prompts").mkdir()
    (folder / "prompts" / "train.txt").write_text("a cat\n")
    (folder / "prompts" / "test.jsonl").write_text('{"prompt": "a dog"}\n')
    write_model(folder / "tiny", "StableDiffusion3Pipeline", "SD3Transformer2DModel")
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE)
    return recipe


def write_model(folder: Path, pipeline: str, transformer: str) -> None:
    """The two files by which a folder in diffusers' layout is known, with these classes."""
    (folder / "transformer").mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    config = json.dumps({"_class_name": transformer})
    (folder / "transformer" / "config.json").write_text(config)


def accept(name: str, options: Mapping[str, Any]) -> list[Problem]:
    """A plugin host that takes any options."""
    return []


def load(folder: Path, *overrides: str) -> Recipe:
    return load_recipe(folder / "recipe.toml", overrides, accept)


def problems(folder: Path, *overrides: str) -> Sequence[str]:
    """What is wrong with the recipe, one text a fault; the test fails if nothing is."""
    with pytest.raises(RecipeError) as caught:
        load(folder, *overrides)
    return [str(problem) for problem in caught.value.problems]
