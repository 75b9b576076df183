from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from marblecli.errors import BadInputError
from marblecli.runs.adapter_files import adapter_weights_file, read_adapter_file


def write(path: Path, **metadata: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({"x.lora_A.weight": torch.ones(2, 3)}, path, metadata)
    return path


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "pytorch_lora_weights.safetensors"])
def test_a_folder_is_an_adapter_by_the_file_in_it(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / name)
    assert adapter_weights_file(tmp_path) == adapter_weights_file(file) == file


def test_other_files_and_folders_are_none(tmp_path: Path) -> None:
    other = write(tmp_path / "weights.bin")
    for path in (tmp_path, other, tmp_path / "absent"):
        assert adapter_weights_file(path) is None
        with pytest.raises(BadInputError, match=r"no adapter there; expected a \.safetensors file"):
            read_adapter_file(path)


def test_settings_are_the_networks_alone(tmp_path: Path) -> None:
    settings = {
        "transformer.lora_alpha": 3,
        "transformer.alpha_pattern": {"blocks.0.to_q": 1},
        "text_encoder.lora_alpha": 9,
    }
    file = write(tmp_path / "x.safetensors", lora_adapter_metadata=json.dumps(settings))
    found = read_adapter_file(file)
    assert found.settings == {"lora_alpha": 3, "alpha_pattern": {"blocks.0.to_q": 1}}
    assert found.place == str(file)
    assert found.tensors.keys() == {"x.lora_A.weight"}


def test_the_base_may_stand_in_the_metadata_itself(tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors", base_model_name_or_path="me/model", other="1")
    assert read_adapter_file(file).settings == {"base_model_name_or_path": "me/model"}


@pytest.mark.parametrize(("text", "message"), [("{", "aren't JSON"), ("[]", "no JSON object")])
def test_broken_settings_are_named(tmp_path: Path, text: str, message: str) -> None:
    file = write(tmp_path / "x.safetensors", lora_adapter_metadata=text)
    with pytest.raises(BadInputError, match=f"x.safetensors: its settings .*{message}"):
        read_adapter_file(file)


def test_a_torn_file_is_named(tmp_path: Path) -> None:
    file = write(tmp_path / "x.safetensors")
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(BadInputError, match=r"x\.safetensors: can't be read as safetensors"):
        read_adapter_file(file)
