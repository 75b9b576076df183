from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.atomic import clean_up, restore_replaced
from marblecli.runs.checkpoints import (
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
)
from marblecli.types import Snapshot

STEMS = ("ema", "old", "optimizer", "trained")


def snapshot(step: int, value: float = 1.0) -> Snapshot:
    tensors = {stem: {"a.b": torch.full((3, 2), value)} for stem in STEMS}
    return Snapshot(step, tensors, {"balance": {"norms": [1.0, None]}, "seed": 7})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_snapshot_comes_back_whole(tmp_path: Path) -> None:
    saved = snapshot(100)
    path = save_checkpoint(tmp_path, saved)
    assert path == tmp_path / "step-000100"
    assert names(path) == sorted([*(f"{stem}.safetensors" for stem in STEMS), "state.json"])
    loaded = load_checkpoint(path)
    assert loaded.step == 100
    assert loaded.state == saved.state
    assert loaded.tensors.keys() == saved.tensors.keys()
    for stem in STEMS:
        torch.testing.assert_close(loaded.tensors[stem], saved.tensors[stem], rtol=0, atol=0)


def test_a_checkpoint_says_its_schema_and_older_ones_do_without(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, snapshot(1))
    state = json.loads((path / "state.json").read_text())
    assert state.pop("schema") == 1
    (path / "state.json").write_text(json.dumps(state))
    assert load_checkpoint(path).step == 1


def test_a_checkpoint_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, snapshot(1))
    (path / "state.json").write_text('{"schema": 2, "files": []}')
    with pytest.raises(BadInputError, match=r"state\.json: has schema 2, written by "):
        load_checkpoint(path)


def test_dtypes_views_and_shared_storage_survive(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "transposed": base.T,
        "part": base[1],
        "same": base,
        "again": base,
        "half": torch.ones(2, dtype=torch.bfloat16),
        "bytes": torch.arange(5, dtype=torch.uint8),
        "scalar": torch.tensor(3.0),
        "none": torch.zeros(0),
    }
    path = save_checkpoint(tmp_path, Snapshot(1, {"optimizer": tensors, "empty": {}}, {}))
    loaded = load_checkpoint(path)
    torch.testing.assert_close(loaded.tensors["optimizer"], tensors, rtol=0, atol=0)
    assert loaded.tensors["empty"] == {}


def test_state_that_isnt_finite_becomes_null(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, Snapshot(1, {}, {"best": float("-inf")}))
    assert load_checkpoint(path).state == {"best": None}


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, snapshot(5, 1.0))
    path = save_checkpoint(tmp_path, snapshot(5, 2.0))
    assert load_checkpoint(path).tensors["ema"]["a.b"][0, 0] == 2.0
    assert names(tmp_path) == ["step-000005"]


def test_the_oldest_are_pruned_by_number_not_by_name(tmp_path: Path) -> None:
    for step in (999_999, 1_000_000, 2):
        save_checkpoint(tmp_path, snapshot(step))
    assert names(tmp_path) == ["step-000002", "step-1000000", "step-999999"]
    prune_checkpoints(tmp_path, keep_last=2)
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-999999", "step-1000000"]


def test_what_isnt_whole_isnt_listed(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, snapshot(1))
    (save_checkpoint(tmp_path, snapshot(2)) / "ema.safetensors").unlink()
    (save_checkpoint(tmp_path, snapshot(3)) / "state.json").write_text("{")
    (tmp_path / "step-000004").mkdir()
    (tmp_path / "step-notes").mkdir()
    assert names(tmp_path)[0] == "step-000001"
    assert [path.name for path in list_checkpoints(tmp_path)] == ["step-000001"]


@pytest.mark.parametrize("fault", ["absent", "no tensors", "cut", "no state", "half a state"])
def test_a_broken_checkpoint_is_explained_in_one_line(tmp_path: Path, fault: str) -> None:
    save_checkpoint(tmp_path, snapshot(1))
    path = save_checkpoint(tmp_path, snapshot(2))
    if fault == "absent":
        path = tmp_path / "step-000003"
    elif fault == "no tensors":
        (path / "old.safetensors").unlink()
    elif fault == "cut":
        os.truncate(path / "old.safetensors", 70)
    elif fault == "no state":
        (path / "state.json").unlink()
    else:
        (path / "state.json").write_text('{"step": 2}')
    with pytest.raises(BadInputError) as caught:
        load_checkpoint(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: no whole checkpoint (")
    assert "step-000001" in text
    assert "\n" not in text


@pytest.mark.parametrize("calls", [0, 2])
def test_a_full_disk_leaves_the_earlier_checkpoint_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    first = save_checkpoint(tmp_path, snapshot(1))
    left = [None] * calls
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if not left:
            raise OSError(errno.ENOSPC, "No space left on device")
        left.pop()
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(MarbleError, match=r"can't write .*step-000002: No space left") as caught:
        save_checkpoint(tmp_path, snapshot(2))
    assert caught.value.exit_code == 1
    assert names(tmp_path) == ["step-000001"]
    assert load_checkpoint(first).step == 1


FILL_THE_DISK = """
import resource, signal, sys
from pathlib import Path
import torch
from marblecli.errors import MarbleError
from marblecli.runs.checkpoints import save_checkpoint
from marblecli.types import Snapshot

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    save_checkpoint(Path(sys.argv[1]), Snapshot(2, {"trained": {"a": torch.ones(100_000)}}, {}))
except MarbleError as error:
    sys.stderr.write(str(error))
    sys.exit(error.exit_code)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no limit on the size of files there")
def test_a_tensor_file_that_finds_no_room_is_explained(tmp_path: Path) -> None:
    save_checkpoint(tmp_path, snapshot(1))
    done = subprocess.run(
        [sys.executable, "-c", FILL_THE_DISK, str(tmp_path)],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith(f"can't write {tmp_path / 'step-000002'}: ")
    assert names(tmp_path) == ["step-000001"]


DIE_WHILE_SAVING = """
import os, signal, sys
from pathlib import Path
import torch
from marblecli.runs import atomic, checkpoints
from marblecli.types import Snapshot

folder, moment = Path(sys.argv[1]), sys.argv[2]

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

if moment == "first file":
    save = checkpoints.save_tensors
    checkpoints.save_tensors = lambda *args: (save(*args), die())
elif moment == "rename":
    atomic._swap = die
elif moment == "between renames":
    rename = Path.replace
    Path.replace = lambda self, to: (rename(self, to), die())
elif moment == "pruning":
    atomic.shutil.rmtree = die
tensors = {"trained": {"a": torch.ones(3)}, "old": {"a": torch.ones(3)}}
checkpoints.save_checkpoint(folder, Snapshot(int(sys.argv[3]), tensors, {}))
checkpoints.prune_checkpoints(folder, 1)
"""


@pytest.mark.parametrize(
    ("moment", "step", "whole"),
    [
        ("first file", 2, ["step-000001"]),
        ("rename", 2, ["step-000001"]),
        ("between renames", 1, ["step-000001"]),
        ("pruning", 2, ["step-000002"]),
    ],
)
def test_a_killed_save_is_complete_or_absent(
    tmp_path: Path, moment: str, step: int, whole: list[str]
) -> None:
    save_checkpoint(tmp_path, snapshot(1))
    command = [sys.executable, "-c", DIE_WHILE_SAVING, str(tmp_path), moment, str(step)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert any(name.startswith(".") for name in names(tmp_path))
    restore_replaced(tmp_path)
    found = list_checkpoints(tmp_path)
    assert [path.name for path in found] == whole
    assert load_checkpoint(found[-1]).step == int(whole[0][-1])
    clean_up(tmp_path)
    assert names(tmp_path) == whole
