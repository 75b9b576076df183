"""Embeddings on disk: what was computed once is never computed again, and never half there."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from marblecli.errors import MarbleError
from marblecli.runs.embedding_cache import EmbeddingCache


def embedding(value: float) -> dict[str, torch.Tensor]:
    return {"context": torch.full((3, 4), value, dtype=torch.bfloat16), "pooled": torch.ones(2)}


def test_what_was_written_is_read_back_to_the_bit(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model")
    cache.write("a cat", embedding(0.1))
    cache.write("ein Hund, «très grand»", embedding(0.2))
    found = EmbeddingCache(tmp_path, "model").read(["ein Hund, «très grand»", "a cat", "a bird"])
    assert found.keys() == {"ein Hund, «très grand»", "a cat"}
    for name, tensor in embedding(0.1).items():
        assert torch.equal(found["a cat"][name], tensor)
        assert found["a cat"][name].dtype == tensor.dtype
    assert EmbeddingCache(tmp_path, "another model").read(["a cat"]) == {}


def test_a_damaged_file_is_no_embedding_and_is_replaced(tmp_path: Path) -> None:
    cache = EmbeddingCache(tmp_path, "model")
    cache.write("a cat", embedding(1.0))
    (file,) = cache.folder.iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    assert cache.read(["a cat"]) == {}
    cache.write("a cat", embedding(2.0))
    assert torch.equal(cache.read(["a cat"])["a cat"]["context"], embedding(2.0)["context"])


def test_many_may_write_and_read_at_once(tmp_path: Path) -> None:
    """Whatever is there at any moment is whole."""
    cache, texts, wrong = EmbeddingCache(tmp_path, "model"), [f"prompt {n}" for n in range(8)], []

    def work(value: float) -> None:
        for _ in range(10):
            for text in texts:
                cache.write(text, embedding(value))
            for found in cache.read(texts).values():
                if len(found["context"].unique()) != 1:
                    wrong.append(found)

    threads = [threading.Thread(target=work, args=(float(n),)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
    assert cache.read(texts).keys() == set(texts)
    assert len(list(cache.folder.iterdir())) == len(texts)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(MarbleError, match=r"can't write .*/file/model/.*model\.embedding_cache"):
        EmbeddingCache(tmp_path / "file", "model").write("a cat", embedding(0.0))


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full)
    cache = EmbeddingCache(tmp_path, "model")
    with pytest.raises(MarbleError, match="No space left"):
        cache.write("a cat", embedding(0.0))
    assert list(cache.folder.iterdir()) == []
