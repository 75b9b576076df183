from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from marblecli.errors import BadInputError
from marblecli.models.architectures import (
    UnreadableConfigError,
    find_architecture,
    folder_architecture,
    hub_architecture,
)
from marblecli.models.registry import shipped_models
from marblecli.models.sd3.family import SD3
from marblecli.settings import ModelSettings

ROOT = Path(__file__).parents[2]
TINY = ROOT / "plugins" / "marble-reward-shapes" / "tiny-sd3"
MEDIUM = "stabilityai/stable-diffusion-3.5-medium"


def test_a_model_that_is_not_shipped_is_refused_with_the_choices() -> None:
    with pytest.raises(BadInputError, match="did you mean") as caught:
        find_architecture(ModelSettings(pretrained=MEDIUM + "s", random_weights=True))
    assert all(hub_id in str(caught.value) for hub_id in shipped_models())


def test_a_folder_is_read_with_the_parts_that_it_has(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(TINY, folder)
    shutil.rmtree(folder / "text_encoder_3")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "text_encoder_3": [None, None]}))
    found = find_architecture(ModelSettings(pretrained=str(folder)))
    assert found.parts.keys() == SD3.spec.parts.keys() - {"text_encoder_3"}
    assert found.parts["transformer"]["num_layers"] == 4


def test_what_the_hubs_cache_has_needs_no_network(empty_cache: Path) -> None:
    commit = "0" * 40
    repository = empty_cache / "models--someone--tiny"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    for file in ("model_index.json", *SD3.spec.parts.values()):
        kept = repository / "snapshots" / commit / file
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes((TINY / file).read_bytes())
    assert hub_architecture("someone/tiny").parts == folder_architecture(TINY).parts
    shutil.rmtree(empty_cache)
    # Read once a command.
    assert hub_architecture("someone/tiny").parts.keys() == SD3.spec.parts.keys()


def test_a_hub_that_nobody_can_reach_is_a_reason(empty_cache: Path) -> None:
    with pytest.raises(UnreadableConfigError, match="someone/tiny isn't in the hub's cache"):
        hub_architecture("someone/tiny")


def test_the_hub_is_asked_once(hub: list[str]) -> None:
    with pytest.raises(UnreadableConfigError, match="404"):
        hub_architecture("someone/weights", "main")
    assert hub == ["GET /someone/weights/resolve/main/model_index.json"]


def test_a_hub_that_answers_nothing_is_asked_once_too(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(2):
        with pytest.raises(UnreadableConfigError):
            hub_architecture("someone/tiny")
        # A second question would fail in another way.
        monkeypatch.setattr("marblecli.models.architectures.hub_source", None)
