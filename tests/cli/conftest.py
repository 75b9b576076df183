"""A tiny model with random weights, recipes for it, and one finished run that is only read."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from marblecli.cli import progress
from marblecli.cli.main import main

SCENES = [
    {
        "prompt": f"a {colour} square on black",
        "background": "black",
        "colours": [colour],
        "objects": [{"shape": "square", "colour": colour, "count": 1}],
        "relation": "",
    }
    for colour in ("red", "blue", "green")
]
RECIPE = """
[run]
name = "tiny"
[model]
pretrained = "{model}"
dtype = "fp32"
max_sequence_length = 1
[model.lora]
rank = 2
alpha = 4
[prompts.scenes]
train = "train.jsonl"
eval = "held-out.jsonl"
[rewards.shapes-colour]
[rewards.shapes-aesthetic]
[sampling]
resolution = 32
steps = 3
group_size = 3
prompts_per_step = 2
batch_size = 6
[training]
steps = 4
learning_rate = 1e-2
micro_batch_size = 4
noise_levels = 2
[training.old_policy]
slope = 0.1
cap = 0.5
[eval]
every = 0
steps = 2
images_per_prompt = 1
images_per_train_prompt = 2
[checkpoint]
every = 2
keep_last = 100
"""


@dataclass(frozen=True)
class Shown:
    """What a command left: its exit code, stdout and stderr."""

    code: int
    out: str
    err: str


Marble = Callable[..., Shown]


@pytest.fixture(autouse=True)
def silent_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take long over anything, and what commands print is compared."""
    monkeypatch.setattr(progress, "_FIRST", 3600.0)


@pytest.fixture
def marble(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Marble:
    """Run ``marble ARGUMENTS`` in this process; what libraries print counts too."""

    def run(*arguments: object) -> Shown:
        monkeypatch.setattr(sys, "argv", ["marble", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main()
        shown = capfd.readouterr()
        return Shown(stop.value.code or 0, shown.out, shown.err)

    return run


def write_recipe(folder: Path, model: Path) -> Path:
    """A recipe with its prompt files."""
    for name, prompts in (("train", SCENES[:2]), ("held-out", SCENES[1:])):
        lines = "".join(json.dumps(prompt) + "\n" for prompt in prompts)
        (folder / f"{name}.jsonl").write_text(lines)
    recipe = folder / "recipe.toml"
    recipe.write_text(RECIPE.format(model=model.as_posix()))
    return recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A valid recipe whose model folder names the right classes, and holds no weight."""
    model = tmp_path / "model"
    (model / "transformer").mkdir(parents=True)
    (model / "model_index.json").write_text('{"_class_name": "StableDiffusion3Pipeline"}')
    config = model / "transformer" / "config.json"
    config.write_text('{"_class_name": "SD3Transformer2DModel"}')
    return write_recipe(tmp_path, model)


@pytest.fixture(scope="session")
def tiny_recipe(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recipe that trains: its model is tiny and random, but whole."""
    return write_recipe(tmp_path_factory.mktemp("tiny-cli"), tiny_folder)


@pytest.fixture(scope="session")
def train_tiny(tiny_recipe: Path) -> Callable[..., Path]:
    """(run directory, overrides, resume) -> the run directory, trained in this process."""
    from marblecli.cli.setup import load_plan
    from marblecli.cli.train.run import run_training

    def run(run_dir: Path, *overrides: str, resume: bool = False) -> Path:
        run_training(load_plan(tiny_recipe, overrides), run_dir, resume)
        return run_dir

    return run


@pytest.fixture(scope="session")
def finished_run(train_tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_tiny(tmp_path_factory.mktemp("finished") / "run")
