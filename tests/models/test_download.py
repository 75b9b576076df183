from __future__ import annotations

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from diffusers import DiffusionPipeline
from huggingface_hub.errors import GatedRepoError

from marblecli.errors import MarbleError
from marblecli.models import download
from marblecli.models.configurations import UnreadableConfigError
from marblecli.models.download import fetch_model
from marblecli.models.registry import FAMILIES
from marblecli.models.supported import Examined
from marblecli.settings import ModelSettings

HUB_ID = "stabilityai/stable-diffusion-3.5-medium"


@pytest.fixture(autouse=True)
def _examined(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Examined(FAMILIES[0], UnreadableConfigError("no network"))
    monkeypatch.setattr(download, "examine_model", lambda _model: found)


def test_diffusers_fetches_the_models_revision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[Any] = []

    def fetch(name: str, **options: Any) -> str:
        asked.append((name, options))
        return str(tmp_path)

    monkeypatch.setattr(DiffusionPipeline, "download", fetch)
    assert fetch_model(ModelSettings(pretrained=HUB_ID, revision="abc")) == tmp_path
    assert asked == [(HUB_ID, {"revision": "abc"})]


def test_a_folder_and_random_weights_need_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(DiffusionPipeline, "download")
    assert fetch_model(ModelSettings(pretrained=str(tmp_path))) is None
    assert fetch_model(ModelSettings(pretrained=HUB_ID, random_weights=True)) is None


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (OSError("no\n network"), f"can't fetch the model {HUB_ID}: no network"),
        (
            GatedRepoError("403", response=Mock()),
            "accept it, then run `hf auth login`",
        ),
    ],
)
def test_what_cant_be_fetched_is_one_line(
    error: Exception, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch(name: str, **options: Any) -> str:
        raise error

    monkeypatch.setattr(DiffusionPipeline, "download", fetch)
    with pytest.raises(MarbleError) as caught:
        fetch_model(ModelSettings(pretrained=HUB_ID))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1
