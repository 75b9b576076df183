from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from marble_reward_geneval import options as module
from marble_reward_geneval.options import CLIP, DETECTOR, GenEvalOptions, files, folders
from marblecli.rewards import HubFiles


def test_published_models_are_pinned_to_commits() -> None:
    assert files(GenEvalOptions()) == (DETECTOR, CLIP)
    for published in (DETECTOR, CLIP):
        assert re.fullmatch("[0-9a-f]{40}", published.revision)


def test_a_folder_needs_nothing_from_the_hub(tmp_path: Path) -> None:
    options = GenEvalOptions(detector=str(tmp_path))
    assert files(options) == (CLIP,)
    both = GenEvalOptions(detector=str(tmp_path), clip=str(tmp_path))
    assert files(both) == ()
    assert folders(both) == (tmp_path, tmp_path)


def test_folders_come_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "fetch", lambda part: Path("/cache") / part.repo)
    options = GenEvalOptions(clip=str(tmp_path))
    assert folders(options) == (Path("/cache") / DETECTOR.repo, tmp_path)
    options = GenEvalOptions(detector=str(tmp_path))
    assert folders(options) == (tmp_path, Path("/cache") / CLIP.repo)


def test_another_model_of_the_hub_needs_its_own_commit() -> None:
    with pytest.raises(ValidationError, match=r"this is the commit of openai/clip-vit-large"):
        GenEvalOptions(clip="me/my-clip", clip_revision=CLIP.revision)
    other = GenEvalOptions(detector="me/my-detector", detector_revision="abc")
    assert files(other)[0] == HubFiles("me/my-detector", "abc", DETECTOR.patterns)


def test_another_model_without_commit_is_refused() -> None:
    with pytest.raises(ValidationError, match="name one of me/my-detector"):
        GenEvalOptions(detector="me/my-detector")


def test_what_is_neither_folder_nor_hub_id_is_named() -> None:
    with pytest.raises(ValidationError, match=r"'\./nowhere/at/all' is neither a folder"):
        GenEvalOptions(detector="./nowhere/at/all")
