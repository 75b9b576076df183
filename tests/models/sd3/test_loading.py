from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode

from marblecli.errors import BadInputError, MarbleError
from marblecli.models.family import LoadRequest
from marblecli.models.sd3.family import SD3
from marblecli.models.sd3.loading import load_parts, load_pipeline
from marblecli.models.supported import examine_model
from marblecli.settings import ModelSettings
from support.models import load_request


def model_of(folder: Path, **values: object) -> ModelSettings:
    return ModelSettings.model_validate({"pretrained": str(folder), **values})


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
@pytest.mark.parametrize("random", [False, True])
def test_every_part_is_in_the_recipes_dtype_on_the_cpu(
    dtype: str, random: bool, tiny_folder: Path
) -> None:
    request = load_request(model_of(tiny_folder, dtype=dtype, random_weights=random))
    loaded = load_parts(request)
    wanted = torch.float32 if dtype == "fp32" else torch.bfloat16
    for part in (loaded.network, *loaded.frozen.encoders()):
        assert {p.dtype for p in part.parameters()} == {wanted}
        assert {p.device.type for p in part.parameters()} == {"cpu"}
    assert loaded.frozen.device == torch.device("cpu")


@pytest.mark.parametrize(
    ("t5", "encoders", "absent", "present"),
    [
        ("full", True, (), 3),
        ("none", True, ("text_encoder_3", "tokenizer_3"), 2),
        ("full", False, ("text_encoder", "tokenizer", "tokenizer_2", "tokenizer_3"), 0),
        ("none", False, ("text_encoder", "tokenizer", "tokenizer_2", "tokenizer_3"), 0),
    ],
)
def test_what_isnt_wanted_isnt_loaded(
    t5: str, encoders: bool, absent: tuple[str, ...], present: int, tiny_folder: Path
) -> None:
    pipeline = load_pipeline(load_request(model_of(tiny_folder, t5=t5), encoders=encoders))
    assert all(getattr(pipeline, part) is None for part in absent)
    names = ("text_encoder", "text_encoder_2", "text_encoder_3")
    assert sum(getattr(pipeline, name) is not None for name in names) == present


def test_without_torchao_8_bits_say_what_to_install_before_anything_loads(
    tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torchao.quantization", None)
    monkeypatch.setattr(StableDiffusion3Pipeline, "from_pretrained", None)
    with pytest.raises(BadInputError, match="pip install torchao"):
        load_pipeline(load_request(model_of(tiny_folder, t5="8bit")))


def test_files_that_cant_be_read_are_an_error_of_one_line(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    for file in (folder / "transformer").glob("*.safetensors"):
        file.unlink()
    with pytest.raises(MarbleError, match="can't load the model") as caught:
        load_pipeline(load_request(model_of(folder)))
    assert "\n" not in str(caught.value)


def test_of_fake_tensors_sd35_medium_is_loaded_whole_and_encodes_decodes_and_runs() -> None:
    settings = model_of(Path("stabilityai/stable-diffusion-3.5-medium"), max_sequence_length=4)
    architecture = examine_model(settings).architecture
    with FakeTensorMode(), torch.no_grad():
        loaded = load_parts(LoadRequest(settings, architecture, empty=True))
        weights = list(loaded.network.parameters())
        assert all(isinstance(weight, FakeTensor) for weight in weights)
        assert {weight.dtype for weight in weights} == {torch.bfloat16}
        conditioning = loaded.frozen.encode(["a cat", "two dogs"])
        assert {name: part.shape for name, part in conditioning.tensors.items()} == {
            "context": (2, 77 + 4, 4096),
            "pooled": (2, 2048),
        }
        latents = torch.zeros(2, *loaded.frozen.latent_shape(512, 512), dtype=torch.bfloat16)
        velocity = SD3.velocity(loaded.network, latents, torch.full((2,), 0.5), conditioning)
        assert velocity.shape == latents.shape
        assert loaded.frozen.decode(latents).shape == (2, 3, 512, 512)
