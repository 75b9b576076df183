from __future__ import annotations

import fnmatch
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from marble_reward_preference.options import PickScoreOptions, files, folders
from marble_reward_preference.published import CLIP_H_PROCESSOR, PICKSCORE
from marblecli.errors import MarbleError
from marblecli.rewards import HubFiles
from marblecli.rewards.host import RewardCatalog, discover

NAMES = ("aesthetic", "clipscore", "hpsv2", "imagereward", "pickscore")
each_reward = pytest.mark.parametrize("name", NAMES)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub, and no network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def put(cache: Path, part: HubFiles, source: Path) -> None:
    """What a download of that part would leave in the cache, from a folder with more in it."""
    snapshot = cache / f"models--{part.repo.replace('/', '--')}" / "snapshots" / part.revision
    snapshot.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if any(fnmatch.fnmatch(file.name, pattern) for pattern in part.patterns):
            shutil.copy(file, snapshot)


@each_reward
def test_everything_published_is_pinned_to_a_commit(name: str, catalog: RewardCatalog) -> None:
    spec = catalog.get(name).spec
    parts = spec.files(spec.options())
    assert parts
    assert all(re.fullmatch("[0-9a-f]{40}", part.revision) for part in parts)


@each_reward
def test_what_is_fetched_is_all_that_is_read(
    name: str,
    tiny: dict[str, Path],
    cache: Path,
    score: Callable[..., np.ndarray],
    build: Callable[..., Any],
    images: Tensor,
    prompts: list[str],
) -> None:
    catalog = discover()
    spec = catalog.get(name).spec
    for part in spec.files(spec.options()):
        put(cache, part, tiny[name])
    if name in ("hpsv2", "imagereward"):
        # Only a tiny model needs it: the published ones are of the size that is built in.
        for snapshot in cache.glob("*/snapshots/*"):
            shutil.copy(tiny[name] / "config.json", snapshot)
    fetched = score(name, catalog.build(name, {}, "cpu"), images, prompts)
    np.testing.assert_array_equal(fetched, score(name, build(name), images, prompts))


@each_reward
def test_without_cache_and_network_one_line_says_so(
    name: str, catalog: RewardCatalog, cache: Path
) -> None:
    with pytest.raises(MarbleError, match="marble rewards download") as caught:
        catalog.build(name, {}, "cpu")
    assert "\n" not in str(caught.value)


def test_a_folder_stands_for_all_parts(tmp_path: Path) -> None:
    options = PickScoreOptions(model=str(tmp_path))
    assert files(options) == ()
    assert folders(options) == (tmp_path, tmp_path)


def test_another_model_keeps_the_other_parts() -> None:
    model, processor = files(PickScoreOptions(model="someone/tuned", revision="abc123"))
    assert (model.repo, model.revision) == ("someone/tuned", "abc123")
    assert model.patterns == PICKSCORE.patterns
    assert processor == CLIP_H_PROCESSOR


def test_another_model_needs_its_own_revision(catalog: RewardCatalog) -> None:
    (problem,) = catalog.check_options("pickscore", {"model": "someone/tuned"})
    assert str(problem) == (
        "rewards.pickscore.revision: "
        "'someone/tuned' is no folder here; to take it from the hub, name one of its commits, "
        "not that of yuvalkirstain/PickScore_v1"
    )


@pytest.mark.parametrize("model", ["./hps", "models/hps/2", "/models/hps", "~/hps", "hps"])
def test_a_folder_that_is_not_there_is_named(model: str, catalog: RewardCatalog) -> None:
    (problem,) = catalog.check_options("hpsv2", {"model": model})
    assert str(problem) == (
        f"rewards.hpsv2.model: {model!r} is neither a folder nor a hub id like xswu/HPSv2"
    )


@each_reward
def test_keys_that_are_marbles_own_are_left_to_it(name: str, catalog: RewardCatalog) -> None:
    assert list(catalog.get(name).spec.options.model_fields) == ["model", "revision", "dtype"]
