"""A package from ``marble rewards new`` in an environment of its own, where nobody knows of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

Marble = Callable[..., Any]

QUICKSTART = Path(__file__).parents[3] / "recipes" / "quickstart.toml"
ONE_STEP = [
    word
    for setting in (
        "rewards.sky-blue.target=0.3",
        "training.steps=1",
        "sampling.prompts_per_step=2",
        "sampling.group_size=3",
        "sampling.steps=2",
        "training.noise_levels=2",
        "eval.steps=2",
        "eval.train_prompts=2",
        "eval.held_out_prompts=2",
        "eval.images_per_prompt=1",
        "eval.images_per_train_prompt=2",
    )
    for word in ("--set", setting)
]
MARBLE = "import sys; from marblecli.cli.main import main; sys.argv[0] = 'marble'; main()"


@dataclass(frozen=True)
class Environment:
    """A virtual environment with the new package, on top of this one."""

    python: Path
    package: Path

    def run(self, *arguments: object, cwd: Path | None = None) -> str:
        """Run its Python; stdout."""
        done = subprocess.run(
            [self.python, *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=cwd,
            timeout=300,
            env={key: text for key, text in os.environ.items() if not key.startswith("PYTHON")},
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def marble(self, *arguments: object) -> str:
        """Run its ``marble``; stdout."""
        return self.run("-c", MARBLE, *arguments)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Written by the command, installed by pip as a stranger would."""
    folder = tmp_path_factory.mktemp("new")
    here = [sys.executable, "-c", MARBLE, "rewards", "new", "sky-blue", "--in", str(folder)]
    subprocess.run(here, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    # All that is installed here, editable packages too, is there.
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    site = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    line = f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n"
    (Path(site.stdout.strip()) / "outer.pth").write_text(line)
    package = folder / "marble-reward-sky-blue"
    # With the build backend at hand no index is asked.
    isolation = ["--no-build-isolation", "--no-index"] if find_spec("hatchling") else []
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, *isolation, package], check=True, capture_output=True)
    return Environment(python, package)


def test_it_is_listed_beside_the_others_there_and_not_here(
    environment: Environment, marble: Marble
) -> None:
    rewards = json.loads(environment.marble("rewards", "list", "--json"))["rewards"]
    (ours,) = [one for one in rewards if one["name"] == "sky-blue"]
    assert (ours["distribution"], ours["version"]) == ("marble-reward-sky-blue", "0.1.0")
    assert ours["options"] == ["target"]
    assert {"shapes-colour", "shapes-letters"} <= {one["name"] for one in rewards}
    assert "sky-blue" not in marble("rewards", "list").out


def test_its_own_tests_pass_through_the_kit(environment: Environment) -> None:
    text = environment.run("-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=environment.package)
    assert "passed" in text
    assert "skipped" not in text


def assert_it_took_part(run: Path) -> None:
    (step,) = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert set(step["rewards"]) >= {"sky-blue", "shapes-colour", "shapes-aesthetic"}
    assert 0.0 < step["rewards"]["sky-blue"] <= 1.0
    assert step["valid"]["sky-blue"] == 6
    assert step["faults"] == []
    (conflict,) = map(json.loads, (run / "conflicts.jsonl").read_text().splitlines())
    assert conflict["norms"][conflict["rewards"].index("sky-blue")] > 0.0


def test_it_trains_in_the_quickstart_beside_the_others(
    environment: Environment, marble: Marble, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (site,) = (environment.python.parents[1] / "lib").glob("python*/site-packages")
    monkeypatch.syspath_prepend(site)
    run = tmp_path / "run"
    shown = marble("train", QUICKSTART, "--run-dir", run, *ONE_STEP)
    assert shown.code == 0, shown.err
    assert_it_took_part(run)


@pytest.mark.slow
def test_it_trains_in_its_own_environment_too(environment: Environment, tmp_path: Path) -> None:
    run = tmp_path / "run"
    environment.marble("train", QUICKSTART, "--run-dir", run, *ONE_STEP)
    assert_it_took_part(run)


def test_the_next_commands_are_shown(marble: Marble, tmp_path: Path) -> None:
    shown = marble("rewards", "new", "sea", "--in", tmp_path)
    assert shown.code == 0
    package = tmp_path / "marble-reward-sea"
    assert shown.out.splitlines() == [
        f"wrote {package}",
        f"next: pip install -e {package}",
        "next: marble rewards check sea",
        f"next: python -m pytest {package}",
        "next: marble train RECIPE --set rewards.sea={}",
    ]
    assert (package / "pyproject.toml").is_file()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Sky", "'Sky' is no reward name"),
        (
            "shapes-colour",
            "a reward 'shapes-colour' is installed already, from marble-reward-shapes",
        ),
        ("marble-reward-sea", "give the reward's name alone: sea"),
        ("taken", "exists already"),
    ],
)
def test_what_cant_be_made_is_one_line_and_exit_code_2(
    marble: Marble, tmp_path: Path, name: str, reason: str
) -> None:
    (tmp_path / "marble-reward-taken").mkdir()
    shown = marble("rewards", "new", name, "--in", tmp_path)
    assert shown.code == 2
    assert reason in shown.err
    assert len(shown.err.splitlines()) == 1
    assert len(list(tmp_path.iterdir())) == 1
