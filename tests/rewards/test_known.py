from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from marblecli.rewards.host import RewardCatalog, discover
from marblecli.rewards.known import PACKAGES, install_command, package_of

PLUGINS = Path(__file__).parents[2] / "plugins"


def test_every_package_of_plugins_is_known_with_all_of_its_rewards() -> None:
    names = {
        tomllib.loads(project.read_text(encoding="utf-8"))["project"]["name"]
        for project in PLUGINS.glob("*/pyproject.toml")
    }
    installed = discover().rewards
    found = {
        package: tuple(sorted(n for n, one in installed.items() if one.distribution == package))
        for package in names
    }
    assert found == dict(PACKAGES)


def test_a_reward_that_isnt_installed_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(PLUGINS.parent)
    for name in ("ocr", "ocr_signs"):
        (problem,) = RewardCatalog({}).check_options(name, {})
        assert str(problem) == (
            f"rewards.{name}: 'ocr' is in the package marble-reward-ocr, which isn't installed; "
            "install it with: pip install -e plugins/marble-reward-ocr"
        )


def test_a_folder_outside_of_the_working_directory_is_whole(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert install_command("marble-reward-ocr") == (
        f"pip install -e {PLUGINS / 'marble-reward-ocr'}"
    )
    assert install_command("marble-reward-other") == "pip install -e plugins/marble-reward-other"


def test_other_names_are_of_no_package() -> None:
    assert package_of("sky-blue") is None
