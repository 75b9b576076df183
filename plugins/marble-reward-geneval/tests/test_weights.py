from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel, Mask2FormerForUniversalSegmentation

from marble_reward_geneval.weights import load_model
from marblecli.errors import MarbleError


class _Evil:
    """Asks for a file to be made when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.fixture
def copy(clip_folder: Path, tmp_path: Path) -> Path:
    """A folder with the configuration of the tiny CLIP and nothing else."""
    (tmp_path / "config.json").write_text((clip_folder / "config.json").read_text("utf-8"), "utf-8")
    return tmp_path


def test_it_is_ready_to_infer(detector_folder: Path) -> None:
    model = load_model(Mask2FormerForUniversalSegmentation, detector_folder)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_missing_weights_are_not_made_up(clip_folder: Path, copy: Path) -> None:
    weights = load_file(clip_folder / "model.safetensors")
    del weights["visual_projection.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(MarbleError, match=r"lacks 1 weights of CLIPModel: visual_projection"):
        load_model(CLIPModel, copy)


def test_a_checkpoint_that_asks_for_code_is_refused(copy: Path) -> None:
    torch.save({"weights": _Evil(copy / "mark")}, copy / "pytorch_model.bin")
    with pytest.raises(MarbleError, match="more than weights: not loaded"):
        load_model(CLIPModel, copy)
    assert not (copy / "mark").exists()


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_damaged_weights_are_refused(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"no weights")
    with pytest.raises(MarbleError, match="are damaged"):
        load_model(CLIPModel, copy)


def test_no_weights_are_an_os_error(copy: Path) -> None:
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        load_model(CLIPModel, copy)
