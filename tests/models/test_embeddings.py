from __future__ import annotations

from collections.abc import Iterable, Mapping

import pytest
import torch
from torch import Tensor

from marblecli.models.embeddings import Embeddings
from support.models import FakePipeline


def pooled(embeddings: Embeddings, texts: list[str]) -> Tensor:
    return embeddings.conditioning(texts).tensors["pooled"]


def test_a_text_is_encoded_once_and_the_encoders_leave_the_device() -> None:
    pipeline = FakePipeline()
    embeddings = Embeddings(pipeline.frozen())
    embeddings.embed(["bb", "a", "bb", "a"])
    embeddings.embed(["a", "ccc"])
    embeddings.embed(["bb", "ccc"])
    assert pipeline.log == ["meta", ["a", "bb"], "cpu", "meta", ["ccc"], "cpu"]
    # Kept on the CPU, handed out where the model is.
    assert pooled(embeddings, ["ccc", "a"]).device.type == "meta"


def test_embeddings_come_in_the_order_asked_for() -> None:
    embeddings = Embeddings(FakePipeline("cpu").frozen())
    embeddings.embed(["bb", "a", "ccc"])
    assert pooled(embeddings, ["ccc", "a"]).flatten().tolist() == [3.0, 1.0]


def test_many_texts_are_encoded_in_batches() -> None:
    pipeline = FakePipeline()
    texts = ["x" * length for length in range(1, 71)]
    Embeddings(pipeline.frozen()).embed(texts)
    assert [len(entry) for entry in pipeline.log if isinstance(entry, list)] == [32, 32, 6]
    assert [text for entry in pipeline.log if isinstance(entry, list) for text in entry] == texts


def test_a_text_never_embedded_is_an_error() -> None:
    with pytest.raises(KeyError, match="unheard of"):
        Embeddings(FakePipeline().frozen()).conditioning(["unheard of"])


class Store:
    """A store in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Mapping[str, Tensor]] = {}

    def read(self, texts: Iterable[str]) -> Mapping[str, Mapping[str, Tensor]]:
        return {text: self.kept[text] for text in texts if text in self.kept}

    def write(self, text: str, embedding: Mapping[str, Tensor]) -> None:
        self.kept[text] = embedding


def test_what_is_encoded_is_stored_and_what_is_remembered_isnt_encoded_again() -> None:
    store = Store()
    first = Embeddings(FakePipeline("cpu").frozen(), store)
    first.embed(["bb", "a"])
    assert {name: part.shape for name, part in store.kept["bb"].items()} == {
        "context": torch.Size([1, 1]),
        "pooled": torch.Size([1]),
    }
    pipeline = FakePipeline("cpu")
    second = Embeddings(pipeline.frozen(), store)
    second.remember(store.read(["bb", "a", "ccc"]))
    second.embed(["bb", "a"])
    assert pipeline.log == []
    assert torch.equal(pooled(second, ["a", "bb"]), pooled(first, ["a", "bb"]))


def test_a_prompt_of_many_images_goes_to_the_device_once(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []

    def counted(tensor: Tensor, device: torch.device) -> Tensor:
        sent.append(len(tensor))
        return tensor.to(device)

    for module in ("embeddings", "conditioning"):
        monkeypatch.setattr(f"marblecli.models.{module}.to_device", counted)
    embeddings = Embeddings(FakePipeline("cpu").frozen())
    embeddings.embed(["bb", "a"])
    found = pooled(embeddings, ["bb"] * 24 + ["a"] * 24)
    assert found.flatten().tolist() == [2.0] * 24 + [1.0] * 24
    assert sent == [2, 2, 48]
