from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Marble = Callable[..., Any]


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as found:
        return np.asarray(found.convert("RGB")).astype(int)


def test_images_hold_their_parameters(marble: Marble, finished_run: Path, tmp_path: Path) -> None:
    shown = marble(
        "sample", finished_run, "a red square", "--seed", 3, "--guidance", 2.5, "--negative",
        "blue", "--steps", 3, "--size", "32x16", "--with-base", "--grid", "--output", tmp_path,
    )  # fmt: skip
    assert shown.code == 0, shown.err
    assert shown.out == f"2 images: {tmp_path}\n"
    assert {path.name for path in tmp_path.iterdir()} == {
        "001-a-red-square-seed3.png",
        "001-a-red-square-seed3-base.png",
        "grid.png",
    }
    with Image.open(tmp_path / "001-a-red-square-seed3.png") as found:
        assert found.size == (32, 16)
        info = dict(found.info)
    assert info.pop("base_model")
    assert info == {
        "Software": f"marble {version('marblecli')}",
        "prompt": "a red square",
        "negative_prompt": "blue",
        "seed": "3",
        "steps": "3",
        "guidance": "2.5",
        "size": "32x16",
        "target": str(finished_run),
        "weights": "average",
        "checkpoint": "step-000004",
    }
    with Image.open(tmp_path / "001-a-red-square-seed3-base.png") as found:
        assert found.info["weights"] == "base"


def test_a_prompt_and_a_seed_are_the_same_image_beside_any_others(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    alone, among = tmp_path / "alone", tmp_path / "among"
    assert marble("sample", finished_run, "a cat", "--seed", 7, "--output", alone).code == 0
    others = ("a dog", "a bird", "a cat")
    more = marble("sample", finished_run, *others, "--seed", 7, "--seed", 1, "--output", among)
    assert more.code == 0
    mine = pixels(alone / "001-a-cat-seed7.png")
    # Batches of other sizes may take other kernels.
    np.testing.assert_allclose(mine, pixels(among / "003-a-cat-seed7.png"), atol=1)
    for other in ("003-a-cat-seed1.png", "001-a-dog-seed7.png"):
        assert np.abs(mine - pixels(among / other)).max() > 10


def test_without_a_package_show_is_refused_before_the_model_loads(
    marble: Marble, finished_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marblecli.pictures.terminal.find_spec", lambda name: None)
    shown = marble("sample", finished_run, "a cat", "--show")
    assert shown.code == 2
    assert "textual-image" in shown.err


def test_a_folder_is_named_by_the_target(
    marble: Marble, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert marble("sample", finished_run, "a cat").code == 0
    (folder,) = (tmp_path / "sampled").iterdir()
    assert folder.name.startswith(f"{finished_run.name}-")
