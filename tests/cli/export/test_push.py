from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi

Marble = Callable[..., Any]


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_the_whole_folder_is_uploaded(
    marble: Marble, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def create(_: HfApi, name: str, *, exist_ok: bool) -> str:
        asked.update(name=name, exist_ok=exist_ok)
        return f"https://hub/{name}"

    def upload(_: HfApi, **options: Any) -> None:
        asked["files"] = {path.name for path in Path(options["folder_path"]).iterdir()}
        asked["to"] = options["repo_id"]

    monkeypatch.setattr(HfApi, "create_repo", create)
    monkeypatch.setattr(HfApi, "upload_folder", upload)
    shown = marble("export", run, "--push", "me/mine")
    assert shown.code == 0
    assert shown.out.splitlines()[-1] == "uploaded: https://hub/me/mine"
    assert (asked["name"], asked["exist_ok"], asked["to"]) == ("me/mine", True, "me/mine")
    assert asked["files"] >= {"README.md", "pytorch_lora_weights.safetensors", "images"}
    assert 'load_lora_weights("me/mine"' in (run / "export" / "README.md").read_text()


def test_a_hub_that_refuses_is_one_line(
    marble: Marble, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: HfApi, *arguments: Any, **options: Any) -> None:
        raise OSError("401 Client\nError")

    monkeypatch.setattr(HfApi, "create_repo", refuse)
    shown = marble("export", run, "--format", "diffusers", "--push", "me/mine")
    assert shown.code == 1
    assert shown.err.count("\n") == 1
    assert "to me/mine: 401 Client Error; log in with: hf auth login" in shown.err


def test_another_form_is_refused_before_anything_is_written(marble: Marble, run: Path) -> None:
    shutil.rmtree(run / "export")
    shown = marble("export", run, "--push", "mine")
    assert (shown.code, shown.err) == (2, "marble: --push: expected OWNER/NAME, got 'mine'\n")
    assert not (run / "export").exists()
