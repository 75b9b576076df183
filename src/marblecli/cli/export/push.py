"""``--push``: upload an export to a repository of the hub."""

from __future__ import annotations

import re
from pathlib import Path

from marblecli.errors import BadInputError, MarbleError

_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def check_repository(name: str) -> None:
    """Raise BadInputError unless ``name`` has the form OWNER/NAME."""
    if not _REPOSITORY.fullmatch(name):
        raise BadInputError(f"--push: expected OWNER/NAME, got {name!r}")


def push_folder(folder: Path, name: str) -> str:
    """Upload all of the folder to a model repository, which is made if it isn't there; its address.

    Raises MarbleError, in one line, if the hub can't be reached or refuses.
    """
    from huggingface_hub import HfApi

    # Public; the library's types don't export it.
    from huggingface_hub.errors import HTTPError  # type: ignore[attr-defined]

    api = HfApi()
    try:
        address = api.create_repo(name, exist_ok=True)
        api.upload_folder(
            repo_id=name,
            folder_path=folder,
            commit_message="Weights trained by marble",
            ignore_patterns=[".unfinished-*", ".replaced-*"],
        )
    except (HTTPError, OSError, ValueError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise MarbleError(
            f"can't upload {folder} to {name}: {reason}; log in with: hf auth login"
        ) from error
    return str(address)
