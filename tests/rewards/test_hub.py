from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from marblecli.errors import MarbleError
from marblecli.progress import Advance, listening
from marblecli.rewards.hub import Inventory, MissingFilesError, fetch, take_inventory
from marblecli.rewards.spec import HubFiles

REVISION = "0123456789abcdef0123456789abcdef01234567"
FILES = HubFiles("someone/weights", REVISION, ("config.json", "*.safetensors", "absent.txt"))
"""The last pattern matches nothing, which is allowed: some repositories lack optional files."""


def test_files_are_fetched_once_and_then_found_without_the_hub(
    hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    folder = fetch(FILES)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (folder / "model.safetensors").read_bytes() == b"w" * 5000
    hub.clear()
    assert fetch(FILES) == folder
    assert hub == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert fetch(FILES) == folder


def test_the_bytes_are_told_as_they_come(hub: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    told: list[object] = []

    class Listener:
        @contextmanager
        def work(self, what: str, total: int | None, unit: str) -> Iterator[Advance]:
            told.append((what, total, unit))
            yield told.append

    with listening(Listener()):
        fetch(FILES, 5011)
    first, *bytes_done = told
    assert first == ("fetching someone/weights", 5011, "bytes")
    assert sum(bytes_done) == 5011
    assert capfd.readouterr() == ("", ""), "the library draws no bars of its own"


def test_an_inventory_has_the_sizes_and_what_is_missing(hub: list[str]) -> None:
    assert take_inventory(FILES) == Inventory(2, 5011, 5011)
    fetch(HubFiles("someone/weights", REVISION, ("config.json",)))
    assert take_inventory(FILES) == Inventory(2, 5011, 5000)
    fetch(FILES)
    assert take_inventory(FILES) == Inventory(2, 5011, 0)


@pytest.mark.usefixtures("empty_cache")
def test_missing_files_without_a_network_are_one_line() -> None:
    for function in (fetch, take_inventory):
        with pytest.raises(MissingFilesError) as caught:
            function(FILES)
        assert "\n" not in str(caught.value)
        assert str(caught.value).startswith(
            "someone/weights at 0123456789ab isn't in the hub's cache, and it can't be downloaded"
        )
    assert issubclass(MissingFilesError, MarbleError)


def test_an_incomplete_snapshot_is_not_used(
    hub: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    fetch(HubFiles("someone/weights", REVISION, ("config.json",)))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingFilesError, match="isn't in the hub's cache"):
        fetch(FILES)


def test_a_repository_that_does_not_exist_is_named(hub: list[str]) -> None:
    with pytest.raises(MissingFilesError, match="nobody/nothing at 0123456789ab") as caught:
        fetch(HubFiles("nobody/nothing", REVISION, ("config.json",)))
    assert "\n" not in str(caught.value)


def test_patterns_that_match_nothing_are_named(hub: list[str]) -> None:
    fetch(FILES)
    with pytest.raises(MissingFilesError) as caught:
        fetch(HubFiles("someone/weights", REVISION, ("*.pt", "*.bin")))
    assert str(caught.value) == "someone/weights at 0123456789ab has none of *.pt, *.bin"


@pytest.mark.usefixtures("empty_cache")
def test_an_invalid_repository_name_is_reported() -> None:
    with pytest.raises(MissingFilesError, match="two words"):
        fetch(HubFiles("two words", REVISION, ("config.json",)))


@pytest.mark.usefixtures("empty_cache")
def test_the_level_of_the_hubs_log_is_restored() -> None:
    log = logging.getLogger("huggingface_hub")
    before = log.level
    with pytest.raises(MissingFilesError):
        fetch(FILES)
    assert log.level == before


def test_the_folder_is_in_the_cache(hub: list[str], empty_cache: Path) -> None:
    assert empty_cache in fetch(FILES).parents
