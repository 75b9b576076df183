from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Marble = Callable[..., Any]


def files_of(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_a_probe_shows_conflicts_and_writes_nothing(
    marble: Marble, tiny_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = files_of(tiny_recipe.parent)
    shown = marble("inspect-conflicts", tiny_recipe, "--batches", 2, "--json")
    assert shown.code == 0
    document = json.loads(shown.out)
    assert document["batches"] == 2
    assert document["rewards"] == ["shapes-colour", "shapes-aesthetic"]
    assert list(document["directions"]) == ["applied", "weighted-sum", "equal"]
    assert document["held_out"]["applied"]["batches"] == 2
    assert "source scenes" in document["slices"]
    assert "batch 2/2" in shown.err
    assert files_of(tiny_recipe.parent) == before
    assert not files_of(tmp_path)


def test_a_kept_probe_can_be_inspected_as_a_run(
    marble: Marble, tiny_recipe: Path, tmp_path: Path
) -> None:
    kept = tmp_path / "probe"
    arguments = ("--batches", 2, "--set", "sampling.group_size=2", "--out", kept, "--html")
    first = marble("inspect-conflicts", tiny_recipe, *arguments, "--method", "equal", "--json")
    assert first.code == 0
    assert (kept / "conflicts.html").is_file()
    assert "group_size = 2" in (kept / "recipe.toml").read_text()
    again = json.loads(marble("inspect-conflicts", kept, "--method", "equal", "--json").out)
    assert again["held_out"]["equal"] == json.loads(first.out)["held_out"]["equal"]
    assert again["held_out"]["applied"] == json.loads(first.out)["held_out"]["applied"]
    refused = marble("inspect-conflicts", tiny_recipe, "--out", kept)
    assert refused.code == 2
    assert "isn't empty" in refused.err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "equall"], "unknown method 'equall'"),
        (["--html"], "--html needs the FILE to write"),
        (["absent/page.html", "--html"], "no such folder: absent"),
        (["--set", "training.step=1"], "training.step: unknown key"),
    ],
)
def test_bad_options_are_one_line_before_anything_is_loaded(
    marble: Marble, recipe: Path, options: list[str], message: str
) -> None:
    """The recipe's model has no weights, so loading it would fail."""
    shown = marble("inspect-conflicts", recipe, *options)
    assert shown.code == 2
    assert message in shown.err
    assert len(shown.err.splitlines()) == 1


def test_a_missing_recipe_is_one_line(marble: Marble, tmp_path: Path) -> None:
    shown = marble("inspect-conflicts", tmp_path / "absent.toml")
    assert shown.code == 2
    assert "absent.toml: can't read the recipe" in shown.err
