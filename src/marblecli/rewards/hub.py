"""A reward's files on the hub: fetch them into the hub's cache, or say what they take."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marblecli import progress
from marblecli.errors import MarbleError

if TYPE_CHECKING:
    from huggingface_hub.utils.tqdm import tqdm

    from marblecli.rewards.spec import HubFiles


class MissingFilesError(MarbleError):
    """Files that aren't in the hub's cache and can't be downloaded; one line, without advice."""


@dataclass(frozen=True)
class Inventory:
    """Number and sizes of the files of one repository."""

    count: int
    bytes: int
    missing_bytes: int
    """The bytes of the files that aren't in the hub's cache yet."""


def fetch(files: HubFiles, missing_bytes: int | None = None) -> Path:
    """Download the files that aren't in the hub's cache. Returns the snapshot's folder there.

    ``missing_bytes`` is how much there is to download, if that is known. Files in the cache need no
    network. Raises MissingFilesError if a file is missing and the hub can't be reached or refuses,
    and if the repository has none of the files.
    """
    from huggingface_hub import snapshot_download

    what = f"fetching {files.repo}"
    with _explaining(files), progress.work(what, missing_bytes, "bytes") as advance:
        folder = snapshot_download(
            files.repo,
            revision=files.revision,
            allow_patterns=list(files.patterns),
            tqdm_class=_counter(advance),
        )
    if not any(_matches(path.relative_to(folder), files) for path in Path(folder).rglob("*")):
        raise MissingFilesError(f"{_name(files)} has none of {', '.join(files.patterns)}")
    return Path(folder)


def _counter(advance: progress.Advance) -> type[tqdm]:
    """A progress bar for the hub's library that shows nothing, and passes bytes on.

    The library counts the bytes in two bars: those received and those written. The one that is
    ahead counts.
    """
    from huggingface_hub.utils.tqdm import tqdm

    lock, most = threading.Lock(), [0.0]

    class Counter(tqdm):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            self._counts = options.get("unit") == "B"
            options["disable"] = True
            super().__init__(*arguments, **options)  # type: ignore[no-untyped-call] # the hub's

        def update(self, n: float | None = 1) -> None:
            with lock:
                self.n += n or 0
                if self._counts and self.n > most[0]:
                    advance(int(self.n - most[0]))
                    most[0] = self.n

    return Counter


def _matches(path: Path, files: HubFiles) -> bool:
    return any(fnmatchcase(path.as_posix(), pattern) for pattern in files.patterns)


def take_inventory(files: HubFiles) -> Inventory:
    """The files' number and sizes. Raises MissingFilesError as :func:`fetch` does."""
    from huggingface_hub import snapshot_download

    with _explaining(files):
        found = snapshot_download(
            files.repo,
            revision=files.revision,
            allow_patterns=list(files.patterns),
            dry_run=True,
        )
    sizes = [(one.file_size or 0, one.is_cached) for one in found]
    return Inventory(
        count=len(sizes),
        bytes=sum(size for size, _ in sizes),
        missing_bytes=sum(size for size, cached in sizes if not cached),
    )


@contextmanager
def _explaining(files: HubFiles) -> Iterator[None]:
    """Turn any failure of the hub into one line, and suppress its library's lines about retries."""
    from huggingface_hub.errors import HfHubHTTPError

    log = logging.getLogger("huggingface_hub")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    except (HfHubHTTPError, OSError, ValueError) as error:
        reason = error.__cause__ or error
        text = " ".join(str(reason).split())
        raise MissingFilesError(
            f"{_name(files)} isn't in the hub's cache, and it can't be downloaded: {text}"
        ) from error
    finally:
        log.setLevel(level)


def _name(files: HubFiles) -> str:
    return f"{files.repo} at {files.revision[:12]}"
