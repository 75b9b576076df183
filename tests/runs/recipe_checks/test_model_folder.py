from __future__ import annotations

from pathlib import Path

import pytest

from support.recipes import problems, write_model


@pytest.mark.parametrize("value", ["./none", "/none/at/all", "none", "a/b/c", "prompts/none"])
def test_a_missing_model_folder_is_a_fault(folder: Path, value: str) -> None:
    (line,) = problems(folder, f"model.pretrained={value}")
    assert line.startswith("model.pretrained: no such folder, and no hub id (OWNER/NAME): ")


@pytest.mark.parametrize(
    ("pipeline", "transformer", "fault"),
    [
        ("StableDiffusionXLPipeline", "SD3Transformer2DModel", "names StableDiffusionXLPipeline"),
        ("StableDiffusion3Pipeline", "FluxTransformer2DModel", "names FluxTransformer2DModel"),
    ],
)
def test_a_model_that_is_no_sd3_is_named(
    folder: Path, pipeline: str, transformer: str, fault: str
) -> None:
    write_model(folder / "other", pipeline, transformer)
    (line,) = problems(folder, "model.pretrained=other")
    assert line.startswith("model.pretrained: no Stable Diffusion 3: ")
    assert fault in line


def test_a_folder_without_a_model_is_named(folder: Path) -> None:
    (line,) = problems(folder, "model.pretrained=prompts")
    assert "no model in diffusers' layout" in line
    assert "model_index.json" in line
