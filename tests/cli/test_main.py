"""Bad input is one line on stderr and exit code 2, before a weight is loaded."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from typer.testing import CliRunner

from marblecli.cli.main import app

Marble = Callable[..., Any]


def one_line(shown: Any) -> str:
    """The command's only line, after checking that there is no other output."""
    assert shown.out == ""
    assert "Traceback" not in shown.err
    (line,) = shown.err.splitlines()
    assert line.startswith("marble: ")
    return line.removeprefix("marble: ")


def test_help_names_every_command(marble: Marble) -> None:
    shown = marble("--help")
    assert shown.code == 0
    for command in ("train", "eval", "solve", "inspect-conflicts", "rewards"):
        assert f" {command} " in shown.out


def test_without_a_command_the_help_is_shown(marble: Marble) -> None:
    shown = marble()
    assert shown.code == 2
    assert "inspect-conflicts" in shown.out + shown.err


def test_the_shell_gets_its_completion() -> None:
    asked = {"_MARBLE_COMPLETE": "complete_bash", "COMP_WORDS": "marble ev", "COMP_CWORD": "1"}
    shown = CliRunner().invoke(app, [], prog_name="marble", env=asked)
    assert shown.stdout.split() == ["eval"]


def test_the_whole_traceback_of_an_error_is_shown_if_it_is_asked_for(
    marble: Marble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MARBLE_TRACEBACK", "")
    short = marble("solve", tmp_path / "absent.json")
    long = marble("--traceback", "solve", tmp_path / "absent.json")
    assert (short.code, long.code) == (2, 2)
    assert "Traceback" not in short.err
    assert "Traceback (most recent call last)" in long.err
    assert long.err.endswith(short.err)


def test_the_version_is_shown(marble: Marble) -> None:
    shown = marble("--version")
    assert (shown.code, shown.out) == (0, f"marble {version('marblecli')}\n")


def test_the_recipe_of_these_tests_is_valid(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--dry-run")
    assert (shown.code, shown.err) == (0, "")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("training.step=4", "training.step: unknown key (did you mean 'steps'?)"),
        ("balanced.method=marble", "balanced: unknown key (did you mean 'balance'?)"),
        (
            "balance.method=marbel",
            "balance.method: unknown method 'marbel' (did you mean 'marble'?); there are: ",
        ),
        ("sampling.group_size=1", "sampling.group_size: must be at least 2, got 1"),
        ("training.steps=many", 'training.steps: expected a whole number, got "many"'),
        ("training.steps=2.5", "training.steps: expected a whole number, got 2.5"),
        ("training.learning_rate=nan", "training.learning_rate: "),
        ("prompts.scenes.train=absent.jsonl", "prompts.scenes.train: no such file: "),
        ("rewards.shapes-color.weight=1", "rewards.shapes-color: unknown reward 'shapes-color'"),
        ("rewards.shapes-colour.scoring=soft", "rewards.shapes-colour.scoring: unknown key"),
        ("rewards.shapes-colour.sources=['scene']", "(did you mean 'scenes'?)"),
        ("model.pretrained=./absent", "model.pretrained: no such folder"),
        ("training.levels.low=1.0", "training.levels: low must be below high, got 1.0 and 1.0"),
    ],
)
def test_a_bad_recipe_is_one_line(
    override: str, message: str, marble: Marble, recipe: Path
) -> None:
    shown = marble("train", recipe, "--set", override)
    assert shown.code == 2
    line = one_line(shown)
    assert line.startswith(f"{recipe}: ")
    assert message in line


def test_the_nearest_name_of_a_misspelt_reward_is_named(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--set", "rewards.shapes-color.weight=1")
    assert "did you mean 'shapes-colour'?" in one_line(shown)


def test_every_fault_has_a_line(marble: Marble, recipe: Path) -> None:
    bad = ("training.step=4", "sampling.group_size=1", "rewards.shapes-color.weight=1")
    shown = marble("train", recipe, *(part for each in bad for part in ("--set", each)))
    assert shown.code == 2
    lines = shown.err.splitlines()
    assert len(lines) == 3
    for key in ("training.step:", "sampling.group_size:", "rewards.shapes-color:"):
        assert sum(f"{recipe}: {key}" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("index", "transformer", "message"),
    [
        ("StableDiffusionXLPipeline", "SD3Transformer2DModel", "no Stable Diffusion 3"),
        ("StableDiffusion3Pipeline", "FluxTransformer2DModel", "no Stable Diffusion 3"),
        (None, "SD3Transformer2DModel", "no model in diffusers' layout"),
    ],
)
def test_a_model_folder_of_an_unknown_kind_is_one_line(
    index: str | None, transformer: str, message: str, marble: Marble, recipe: Path
) -> None:
    model = recipe.parent / "model"
    (model / "model_index.json").write_text(
        "{}" if index is None else f'{{"_class_name": "{index}"}}'
    )
    (model / "transformer" / "config.json").write_text(f'{{"_class_name": "{transformer}"}}')
    shown = marble("train", recipe)
    assert shown.code == 2
    assert f"model.pretrained: {message}" in one_line(shown)


def test_a_missing_recipe_is_one_line(marble: Marble, tmp_path: Path) -> None:
    shown = marble("train", tmp_path / "absent.toml")
    assert shown.code == 2
    assert "absent.toml: can't read the recipe: No such file or directory" in one_line(shown)


def test_a_recipe_that_is_no_toml_is_one_line(marble: Marble, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text("[run\n")
    shown = marble("train", tmp_path / "bad.toml")
    assert shown.code == 2
    assert "isn't valid TOML" in one_line(shown)


def test_resuming_needs_a_directory(marble: Marble, recipe: Path) -> None:
    shown = marble("train", recipe, "--resume")
    assert shown.code == 2
    assert "--resume needs --run-dir" in one_line(shown)


def test_a_directory_that_is_no_run_is_one_line(
    marble: Marble, recipe: Path, tmp_path: Path
) -> None:
    for arguments in (
        ("train", recipe, "--resume", "--run-dir", tmp_path / "absent"),
        ("eval", tmp_path / "absent"),
        ("inspect-conflicts", tmp_path / "absent"),
    ):
        shown = marble(*arguments)
        assert shown.code == 2
        assert "no run directory" in one_line(shown)


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        ("[[1.0, 0.5, 0.0], [0.5, 1.0, 0.0]]", "square"),
        ('{"names": ["a"], "gram": [[1.0, 0.5], [0.5, 1.0]]}', "names"),
        ("[[1.0, 0.5], [-0.5, 1.0]]", "symmetric"),
        ("[[1.0, NaN], [NaN, 1.0]]", "nan in row 1, column 2"),
    ],
)
def test_solving_an_invalid_gram_is_one_line(
    gram: str, message: str, marble: Marble, tmp_path: Path
) -> None:
    file = tmp_path / "gram.json"
    file.write_text(gram)
    shown = marble("solve", file)
    assert shown.code == 2
    assert str(file) in (line := one_line(shown))
    assert message in line


@pytest.mark.parametrize(
    "second", [np.ones(4), np.array([1.0, np.nan, 1.0]), np.array([1.0, np.inf, 1.0])]
)
def test_solving_gradients_of_different_sizes_or_not_finite_is_one_line(
    second: np.ndarray, marble: Marble, tmp_path: Path
) -> None:
    file = tmp_path / "gradients.safetensors"
    safetensors.numpy.save_file({"geneval": np.ones(3), "ocr": second}, file)
    shown = marble("solve", file)
    assert shown.code == 2
    assert "ocr" in one_line(shown)


def test_solving_a_missing_file_is_one_line(marble: Marble, tmp_path: Path) -> None:
    shown = marble("solve", tmp_path / "absent.json")
    assert shown.code == 2
    assert "absent.json" in one_line(shown)
