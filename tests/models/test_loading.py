from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from marblecli.errors import BadInputError
from marblecli.models.family import LoadedParts, LoadRequest
from marblecli.models.loading import Model, load_model
from marblecli.models.sd3.family import SD3, StableDiffusion3
from marblecli.models.sd3.frozen import SD3Frozen
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.settings import ModelSettings

CPU = torch.device("cpu")
TEXTS = ("a red square on black", "a blue circle on white")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[bool]]:
    """Whether text encoders were wanted, load by load."""
    wanted: list[bool] = []
    load = StableDiffusion3.load

    def noted(self: StableDiffusion3, request: LoadRequest) -> LoadedParts:
        wanted.append(request.encoders)
        return load(self, request)

    monkeypatch.setattr(StableDiffusion3, "load", noted)
    return wanted


def settings_of(folder: Path, **values: object) -> ModelSettings:
    table = {"pretrained": str(folder), "dtype": "fp32", "max_sequence_length": 1, **values}
    return ModelSettings.model_validate(table)


def frozen(model: Model) -> SD3Frozen:
    assert isinstance(model.backbone.frozen, SD3Frozen)
    return model.backbone.frozen


def test_a_loaded_model_has_its_family_its_network_and_its_prompts(tiny_folder: Path) -> None:
    model = load_model(settings_of(tiny_folder), 0, CPU, TEXTS)
    assert model.family is SD3
    assert model.network is frozen(model).pipeline.transformer
    assert set(model.backbone.conditioning(TEXTS).tensors) == {"context", "pooled"}
    assert not any(p.requires_grad for p in frozen(model).pipeline.vae.parameters())


def test_with_all_prompts_cached_no_text_encoder_is_loaded(
    tiny_folder: Path, tmp_path: Path, asked: list[bool]
) -> None:
    cached = settings_of(tiny_folder, embedding_cache=tmp_path)
    plain = load_model(settings_of(tiny_folder), 0, CPU, TEXTS)
    first = load_model(cached, 0, CPU, TEXTS, EmbeddingCache)
    second = load_model(cached, 0, CPU, TEXTS, EmbeddingCache)
    assert asked == [True, True, False]
    assert frozen(second).encoders() == []
    parts = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2")
    assert all(getattr(frozen(second).pipeline, part) is None for part in parts)
    wanted = plain.backbone.conditioning(TEXTS).tensors
    for model in (first, second):
        found = model.backbone.conditioning(TEXTS).tensors
        assert all(torch.equal(found[name], part) for name, part in wanted.items())
    # One that is missing brings them back.
    next(iter(next(iter(tmp_path.iterdir())).iterdir())).unlink()
    load_model(cached, 0, CPU, TEXTS, EmbeddingCache)
    # Without a store the recipe's cache is left alone.
    load_model(cached, 0, CPU, TEXTS)
    assert asked[3:] == [True, True]


def test_a_model_without_a_text_encoder_that_its_prompts_need_is_refused(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    for part in ("text_encoder_2", "text_encoder_3"):
        index[part] = [None, None]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(BadInputError, match="has no text_encoder_2, which its prompts need"):
        load_model(settings_of(folder), 0, CPU, TEXTS)
    # There is nothing to encode.
    assert load_model(settings_of(folder), 0, CPU, ()).family is SD3
