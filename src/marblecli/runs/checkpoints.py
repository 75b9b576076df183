"""Checkpoint folders: they hold safetensors and JSON only, and are complete or absent."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marblecli.errors import BadInputError
from marblecli.runs.atomic import discard, explaining_failure, replacing
from marblecli.runs.json_lines import to_json
from marblecli.runs.schema import KEY, check_schema, stamped
from marblecli.types import Snapshot

if TYPE_CHECKING:
    from torch import Tensor

_NAME = re.compile(r"step-(\d{6,})")
STATE = "state.json"
"""What a checkpoint's folder has beside its safetensors files."""


def checkpoint_name(step: int) -> str:
    """``step-000100``"""
    return f"step-{step:06d}"


def save_checkpoint(folder: Path, snapshot: Snapshot) -> Path:
    """Write ``folder/step-000100`` and return it.

    Raises MarbleError if that fails, with nothing of it left and older checkpoints whole.
    """
    path = folder / checkpoint_name(snapshot.step)
    state = {
        "step": snapshot.step,
        "files": sorted(snapshot.tensors),
        "state": snapshot.state,
    }
    with explaining_failure(path), replacing(path) as draft:
        draft.mkdir(parents=True)
        for stem, tensors in snapshot.tensors.items():
            save_tensors(draft / f"{stem}.safetensors", tensors)
        (draft / STATE).write_text(to_json(stamped(state), indent=1), encoding="utf-8")
    return path


def load_checkpoint(path: Path, stems: Sequence[str] | None = None) -> Snapshot:
    """Read a checkpoint folder; tensors are on the CPU.

    ``stems`` are the files to read, without their ending; all of them where absent.

    Raises BadInputError, which says what is broken, if it can't be read whole, and if a newer
    version wrote it.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        saved = _read_state(path)
        check_schema(saved.get(KEY), path / STATE)
        wanted = saved["files"] if stems is None else stems
        tensors = {stem: load_file(path / f"{stem}.safetensors") for stem in wanted}
        return Snapshot(step=saved["step"], tensors=tensors, state=saved["state"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        others = ", ".join(p.name for p in list_checkpoints(path.parent) if p != path)
        rescue = f"whole checkpoints beside it: {others or 'none'}"
        raise BadInputError(f"{path}: no whole checkpoint ({error}); {rescue}") from error


def list_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in ``folder`` with all their files, oldest first."""
    found = [path for path in folder.glob("step-*") if _NAME.fullmatch(path.name)]
    return sorted((path for path in found if _has_all_files(path)), key=_step)


def prune_checkpoints(folder: Path, keep_last: int) -> None:
    """Delete all but the newest ``keep_last``."""
    for path in list_checkpoints(folder)[:-keep_last]:
        discard(path)


def _step(path: Path) -> int:
    return int(path.name.removeprefix("step-"))


def _has_all_files(path: Path) -> bool:
    try:
        files = _read_state(path)["files"]
        return all((path / f"{stem}.safetensors").is_file() for stem in files)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _read_state(path: Path) -> dict[str, Any]:
    state = json.loads((path / STATE).read_text(encoding="utf-8"))
    if not isinstance(state, dict):
        raise TypeError(f"{STATE} isn't an object")
    return state


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a safetensors file. Raises OSError if that fails."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    try:
        save_file(_unshared(tensors), path, dict(metadata) if metadata else None)
    except SafetensorError as error:
        # safetensors reports a full disk as an error of its own.
        raise OSError(str(error)) from error


def _unshared(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors on the CPU, contiguous, each with storage of its own: safetensors needs that."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        if plain.untyped_storage().data_ptr() in seen:
            plain = plain.clone()
        seen.add(plain.untyped_storage().data_ptr())
        result[name] = plain
    return result
