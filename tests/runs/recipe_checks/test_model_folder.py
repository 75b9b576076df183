from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import problems


@pytest.mark.parametrize("value", ["./none", "/none/at/all", "none", "a/b/c", "prompts/none"])
def test_a_missing_model_folder_is_a_fault(folder: Path, value: str) -> None:
    (line,) = problems(folder, f"model.pretrained={value}")
    assert line.startswith("model.pretrained: no such folder, and no hub id (OWNER/NAME): ")
