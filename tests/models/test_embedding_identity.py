"""Embeddings are found again only where nothing that they depend on has changed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from marblecli.models.embedding_identity import embedding_identity
from marblecli.settings import ModelSettings


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
