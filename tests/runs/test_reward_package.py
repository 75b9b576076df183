from __future__ import annotations

import ast
import tomllib
from pathlib import Path

import pytest

from marblecli.errors import BadInputError, MarbleError
from marblecli.runs.reward_package import write_reward_package


def test_a_package_is_complete(tmp_path: Path) -> None:
    package = write_reward_package(tmp_path, "sky-blue")
    assert package == tmp_path / "marble-reward-sky-blue"
    assert {path.relative_to(package).as_posix() for path in package.rglob("*.*")} == {
        ".gitignore",
        "README.md",
        "pyproject.toml",
        "src/marble_reward_sky_blue/__init__.py",
        "src/marble_reward_sky_blue/py.typed",
        "src/marble_reward_sky_blue/scorer.py",
        "tests/test_contract.py",
        "tests/test_scorer.py",
    }
    licence = (package / "LICENSE").read_text()
    assert "Apache License" in licence
    assert len(licence.splitlines()) > 150


def test_names_are_filled_in_everywhere(tmp_path: Path) -> None:
    package = write_reward_package(tmp_path, "sky-blue")
    project = tomllib.loads((package / "pyproject.toml").read_text())
    assert project["project"]["name"] == "marble-reward-sky-blue"
    assert project["project"]["entry-points"]["marble"] == {"sky-blue": "marble_reward_sky_blue"}
    for path in package.rglob("*.*"):
        assert "$" not in path.read_text().replace("$(", "")
    for path in package.rglob("*.py"):
        ast.parse(path.read_text())
    assert "[rewards.sky-blue]" in (package / "README.md").read_text()


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Sky",
        "sky blue",
        "sky_blue",
        "-sky",
        "sky-",
        "sky--blue",
        "1sky",
        "../sky",
        "ski/y",
        "ü",
    ],
)
def test_bad_names_are_refused_and_nothing_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadInputError, match="is no reward name: lower-case letters") as caught:
        write_reward_package(tmp_path, name)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_prefix_isnt_part_of_the_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="give the reward's name alone: sky"):
        write_reward_package(tmp_path, "marble-reward-sky")


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_what_is_there_is_left_alone(tmp_path: Path, kind: str) -> None:
    there = tmp_path / "marble-reward-sky"
    there.mkdir() if kind == "folder" else there.write_text("mine")
    with pytest.raises(BadInputError, match="exists already"):
        write_reward_package(tmp_path, "sky")
    assert list(tmp_path.iterdir()) == [there]
    assert there.is_dir() or there.read_text() == "mine"


def test_the_folder_is_made_if_need_be(tmp_path: Path) -> None:
    assert write_reward_package(tmp_path / "a" / "b", "sky").is_dir()


def test_where_nothing_can_be_written_it_is_one_line(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    with pytest.raises(MarbleError, match=r"can't write .*; choose another --in"):
        write_reward_package(blocked / "folder", "sky")
