from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from marblecli.errors import MarbleError
from marblecli.models.tensor_files import load_tensors


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(3)}, path)
    assert load_tensors(path)["a"].tolist() == [1.0, 1.0, 1.0]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(MarbleError, match=r"x\.safetensors: can't be read"):
        load_tensors(path)
