"""A reward's files on the hub: read from the cache, or named with the command that fetches them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import MarbleError

if TYPE_CHECKING:
    from marblecli.rewards.spec import HubFiles


def fetch(files: HubFiles) -> Path:
    """Download what is missing; the folder of the snapshot in the hub's cache.

    Raises MarbleError if a file is missing and the hub can't be reached, or refuses.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(
            snapshot_download(
                files.repo, revision=files.revision, allow_patterns=list(files.patterns)
            )
        )
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise MarbleError(
            f"{files.repo} at {files.revision} is neither in the hub's cache nor to be had: "
            "run `marble rewards download NAME` where there is a network, "
            "or set the reward's option to a local folder"
        ) from error
