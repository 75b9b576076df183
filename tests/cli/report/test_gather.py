"""Any run directory can be read for its page: what it lacks is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from marblecli.cli.report.gather import gather
from marblecli.errors import BadInputError
from marblecli.report.page import render_page
from marblecli.report.run_page import run_page


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of a finished run, to break."""
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def missing(run: Path) -> str:
    """What the run's page says that it lacks; the page is drawn, so that this is tested too."""
    data = gather(run)
    render_page(run_page(data))
    return "\n".join(data.missing)


def test_a_whole_run_lacks_nothing(run: Path) -> None:
    data = gather(run)
    assert data.missing == []
    assert data.rewards == ("shapes-colour", "shapes-aesthetic")
    assert data.conflicts is not None
    assert set(data.conflicts.findings.views["batch"]) == {"applied", "update", "weighted-sum"}
    assert data.galleries[0].steps == (4,)
    assert (data.steps_done, data.steps_planned) == (4, 4)
    assert data.environment["device"]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("recipe.toml", "no recipe.toml"),
        ("environment.json", "no environment.json"),
        ("metrics.jsonl", "no optimizer step"),
        ("conflicts.jsonl", "No batch was measured"),
        ("evaluations.jsonl", "no evaluation yet"),
        ("samples", "no pictures"),
    ],
)
def test_each_part_may_be_absent(run: Path, name: str, line: str) -> None:
    path = run / name
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert line in missing(run)


@pytest.mark.parametrize(
    "name",
    ["recipe.toml", "environment.json", "metrics.jsonl", "conflicts.jsonl", "evaluations.jsonl"],
)
def test_each_part_may_be_broken(run: Path, name: str) -> None:
    (run / name).write_text('{"step": 1\n[broken\n')
    assert name in missing(run)


@pytest.mark.parametrize("name", ["metrics.jsonl", "conflicts.jsonl", "evaluations.jsonl"])
def test_a_line_that_is_being_written_is_left_out(run: Path, name: str) -> None:
    with (run / name).open("a") as file:
        file.write('{"schema": 1, "ste')
    assert missing(run) == ""


def test_a_picture_may_be_broken(run: Path) -> None:
    next(run.glob("samples/step-*.png")).write_bytes(b"no picture")
    assert "isn't a readable picture" in missing(run)


def test_a_method_that_isnt_installed_costs_only_its_judgement(run: Path) -> None:
    recipe = run / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('method = "marble"', 'method = "of-tomorrow"'))
    assert "of-tomorrow" in missing(run)
    assert gather(run).conflicts is not None


def test_a_run_of_an_earlier_version_has_means_without_images(run: Path) -> None:
    lines = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    old = [{key: line[key] for key in ("step", "train", "held-out")} for line in lines]
    (run / "evaluations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in old))
    assert "hold no scores of single images" in missing(run)


def test_files_of_a_newer_version_are_named(run: Path) -> None:
    (run / "environment.json").write_text('{"schema": 99}')
    assert "schema 99" in missing(run)


def test_what_isnt_a_run_is_refused(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BadInputError, match="is no run directory"):
            gather(place)
