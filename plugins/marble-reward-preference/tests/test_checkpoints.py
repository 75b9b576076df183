from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import CLIPModel

from marble_reward_preference.checkpoints import (
    load_transformer,
    part,
    read_checkpoint,
    rename,
)
from marblecli.errors import MarbleError
from marblecli.rewards.host import RewardCatalog

CHECKPOINTS = {
    "aesthetic": "aesthetic-model.pth",
    "hpsv2": "HPS_v2.1_compressed.pt",
    "imagereward": "ImageReward.pt",
}
each_checkpoint = pytest.mark.parametrize(("name", "file"), CHECKPOINTS.items())


class Malicious:
    """Unpickled, it would make a file."""

    def __init__(self, victim: Path) -> None:
        self.victim = victim

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.victim),)


@each_checkpoint
def test_a_checkpoint_that_would_run_code_is_refused(
    name: str, file: str, catalog: RewardCatalog, broken: Callable[[str], Path], tmp_path: Path
) -> None:
    folder, victim = broken(name), tmp_path / "victim"
    torch.save({"state_dict": Malicious(victim)}, folder / file)
    with pytest.raises(MarbleError, match="more than weights: not loaded") as caught:
        catalog.build(name, {"model": str(folder)}, "cpu")
    assert "\n" not in str(caught.value)
    assert not victim.exists()
    # The file would have done it: the test can fail.
    torch.load(folder / file, weights_only=False)
    assert victim.exists()


@each_checkpoint
@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"PK\x03\x04 cut off"])
def test_a_damaged_checkpoint_is_named(
    name: str, file: str, content: bytes, catalog: RewardCatalog, broken: Callable[[str], Path]
) -> None:
    folder = broken(name)
    (folder / file).write_bytes(content)
    with pytest.raises(MarbleError, match=f"{file} is damaged"):
        catalog.build(name, {"model": str(folder)}, "cpu")


@each_checkpoint
def test_the_weights_of_another_model_are_refused(
    name: str, file: str, catalog: RewardCatalog, broken: Callable[[str], Path]
) -> None:
    folder = broken(name)
    torch.save({"state_dict": {"encoder.weight": torch.zeros(2)}}, folder / file)
    with pytest.raises(MarbleError) as caught:
        catalog.build(name, {"model": str(folder)}, "cpu")
    assert "\n" not in str(caught.value)
    assert file in str(caught.value)


def test_a_checkpoint_is_a_dictionary(tmp_path: Path) -> None:
    torch.save(torch.zeros(3), tmp_path / "one.pt")
    with pytest.raises(MarbleError, match="no dictionary of weights"):
        read_checkpoint(tmp_path / "one.pt")


def test_a_part_loses_its_prefix() -> None:
    weights = {"a.b": torch.zeros(1), "a.c.a.d": torch.ones(1), "b.a.b": torch.ones(1)}
    assert part(weights, "a.").keys() == {"b", "c.a.d"}


def test_rules_apply_in_turn() -> None:
    assert rename("one.two", [("^one", "two"), ("two", "three")]) == "three.three"


def test_weights_that_are_missing_are_not_made_up(broken: Callable[[str], Path]) -> None:
    folder = broken("clipscore")
    weights = load_file(folder / "model.safetensors")
    for name in ("visual_projection.weight", "text_projection.weight"):
        del weights[name]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MarbleError, match=r"lacks text_projection\.weight and 1 more"):
        load_transformer(folder, CLIPModel)


def test_weights_that_are_too_many_are_another_model(broken: Callable[[str], Path]) -> None:
    folder = broken("clipscore")
    weights = load_file(folder / "model.safetensors")
    # The buffer of old files is no weight.
    weights["text_model.embeddings.position_ids"] = torch.arange(40)[None]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load_transformer(folder, CLIPModel)
    weights["third_tower.weight"] = torch.zeros(1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(MarbleError, match=r"has besides third_tower\.weight"):
        load_transformer(folder, CLIPModel)


def test_a_pickle_in_place_of_safetensors_is_not_read(broken: Callable[[str], Path]) -> None:
    folder = broken("clipscore")
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(OSError, match=r"model\.safetensors"):
        load_transformer(folder, CLIPModel)
