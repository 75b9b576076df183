from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file

from marblecli.errors import BadInputError, MarbleError
from marblecli.export.merged import MergedFormat
from marblecli.export.subject import Subject
from marblecli.runs.exports import ExportWriter

FORMAT = MergedFormat()


def written(subject: Subject, folder: Path) -> Path:
    path = folder / FORMAT.file(subject)
    FORMAT.write(subject, path, ExportWriter())
    return path


@pytest.mark.parametrize("dora", [False, True])
def test_a_pipeline_folder_has_the_changed_weights_and_the_bases_other_parts(
    subject_of: Callable[..., Subject], tiny_folder: Path, tmp_path: Path, dora: bool
) -> None:
    subject = subject_of(dora=dora)
    path = written(subject, tmp_path)
    assert FORMAT.check(subject, path) < 1e-6
    loaded = StableDiffusion3Pipeline.from_pretrained(path)
    base = StableDiffusion3Pipeline.from_pretrained(tiny_folder)
    for name, weight in loaded.transformer.state_dict().items():
        layer = name.removesuffix(".weight")
        wanted = base.transformer.state_dict()[name].double()
        if layer in subject.lora.layers:
            wanted = wanted + subject.change(layer)
        torch.testing.assert_close(weight.double(), wanted, atol=1e-6, rtol=1e-6)
    for part in ("vae", "text_encoder", "text_encoder_2", "text_encoder_3"):
        theirs = getattr(base, part).state_dict()
        for name, weight in getattr(loaded, part).state_dict().items():
            assert torch.equal(weight, theirs[name])


def test_full_weights_make_a_pipeline_folder(full_subject: Subject, tmp_path: Path) -> None:
    path = written(full_subject, tmp_path)
    assert FORMAT.check(full_subject, path) == 0.0
    weights = path / "transformer" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(weights)
    name = "proj_out.weight"
    save_file(tensors | {name: tensors[name] * 1.01}, weights)
    with pytest.raises(MarbleError, match=r"loads another proj_out\.weight than was saved"):
        FORMAT.check(full_subject, path)


def test_random_weights_without_tokenizers_are_refused(
    subject_of: Callable[..., Subject], tmp_path: Path
) -> None:
    from dataclasses import replace

    subject = subject_of()
    # A model of which there is nothing but the shipped configurations would be of full size.
    parts = subject.architecture
    nowhere = replace(parts, name="no/folder")
    model = subject.model.model_copy(update={"random_weights": True})
    subject = replace(subject, model=model, architecture=nowhere)
    with pytest.raises(BadInputError, match="no tokenizers"):
        written(subject, tmp_path)
