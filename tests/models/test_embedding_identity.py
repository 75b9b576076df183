"""Embeddings are found again only where nothing that they depend on has changed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from marblecli.models.embedding_identity import embedding_identity
from marblecli.settings import ModelSettings
from marblecli.train import sampler as samplers
from marblecli.train.trainer import Trainer


def test_all_that_an_embedding_depends_on_is_in_its_embedding_identity(
    tiny_folder: Path, tmp_path: Path
) -> None:
    plain: dict[str, Any] = {"pretrained": str(tiny_folder), "embedding_cache": tmp_path}
    known = {embedding_identity(ModelSettings(**plain), 0)}
    changes: list[dict[str, Any]] = [
        {"dtype": "fp32"},
        {"max_sequence_length": 64},
        {"t5": "none"},
        {"revision": "main"},
    ]
    for change in changes:
        known.add(embedding_identity(ModelSettings(**{**plain, **change}), 0))
    copy = tmp_path / "copy"
    shutil.copytree(tiny_folder, copy)
    other = ModelSettings(**{**plain, "pretrained": str(copy)})
    known.add(embedding_identity(other, 0))
    config = copy / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_act": "gelu"}))
    known.add(embedding_identity(other, 0))
    assert len(known) == len(changes) + 3
    assert embedding_identity(ModelSettings(**plain, mode="full"), 5) in known
    random = ModelSettings(**plain, random_weights=True)
    assert embedding_identity(random, 0) != embedding_identity(random, 1)


def test_with_all_prompts_cached_no_text_encoder_is_loaded(
    open_tiny: Callable[..., Trainer], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = {"model.embedding_cache": str(tmp_path)}
    first, plain = open_tiny(overrides), open_tiny()
    assert first.sampler.backbone.pipeline.text_encoder is not None
    asked: list[bool] = []
    load = samplers.load_pipeline

    def load_pipeline(*args: Any, encoders: bool) -> Any:
        asked.append(encoders)
        return load(*args, encoders=encoders)

    monkeypatch.setattr(samplers, "load_pipeline", load_pipeline)
    second = open_tiny(overrides)
    assert asked == [False]
    pipeline = second.sampler.backbone.pipeline
    parts = ("text_encoder", "text_encoder_2", "text_encoder_3", "tokenizer", "tokenizer_2")
    assert all(getattr(pipeline, part) is None for part in parts)
    texts = [prompt.text for source in first.sampler.prompts.train for prompt in source]
    wanted = plain.sampler.backbone.conditioning(texts)
    for trainer in (first, second):
        found = trainer.sampler.backbone.conditioning(texts)
        assert torch.equal(found.context, wanted.context)
        assert torch.equal(found.pooled, wanted.pooled)
    # One that is missing brings them back.
    next(iter(next(iter(tmp_path.iterdir())).iterdir())).unlink()
    open_tiny(overrides)
    assert asked == [False, True]
