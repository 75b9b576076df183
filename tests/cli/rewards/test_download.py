from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest

from marblecli.cli.setup import build_suite, load_plan
from marblecli.errors import MarbleError

InstallPlugin = Callable[..., None]
Marble = Callable[..., Any]

PLUGIN = """
from marblecli.rewards import HubFiles, NoOptions, RewardSpec, fetch, hookimpl

class Options(NoOptions):
    model: str = "someone/weights"

class Needy(NoOptions):
    url: str

REVISION = "0123456789abcdef0123456789abcdef01234567"

def files(options):
    if options.model == "local":
        return ()
    return (HubFiles(options.model, REVISION, ("*.safetensors",)),)

def build(options, device):
    for one in files(options):
        fetch(one)
    return lambda batch: [0.5] * len(batch.prompts)

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("heavy", "", build, options=Options, files=files))
    register(RewardSpec("heavier", "", build, options=Options, files=files))
    register(RewardSpec("needy", "", build, options=Needy))
"""


@pytest.fixture(autouse=True)
def _plugin(install_plugin: InstallPlugin) -> None:
    install_plugin("heavy-rewards", PLUGIN)


def test_files_are_fetched_with_their_sizes_and_only_once(hub: list[str], marble: Marble) -> None:
    first = marble("rewards", "download", "heavy", "heavier")
    assert first.code == 0
    (line,) = [line for line in first.out.splitlines() if "someone/weights" in line]
    for part in ("0123456789ab", "1", "5.0 kB", "heavy, heavier"):
        assert part in line
    assert "fetched 5.0 kB; 5.0 kB in all" in first.out
    assert "someone/weights: 5.0 kB of 5.0 kB to fetch" in first.err
    assert "fetched 0 B; 5.0 kB in all" in marble("rewards", "download", "heavy").out


def test_what_was_downloaded_is_what_the_reward_reads(hub: list[str], marble: Marble) -> None:
    marble("rewards", "download", "heavy")
    hub.clear()
    assert marble("rewards", "check", "heavy").code == 0
    assert hub == []


def test_json_is_one_document(hub: list[str], marble: Marble) -> None:
    document = json.loads(marble("rewards", "download", "heavy", "--json").out)
    (download,) = document["downloads"]
    folder = Path(download.pop("folder"))
    assert (folder / "model.safetensors").is_file()
    assert document["rewards"] == ["heavy"]
    assert download == {
        "repo": "someone/weights",
        "revision": "0123456789abcdef0123456789abcdef01234567",
        "files": 1,
        "bytes": 5000,
        "fetched_bytes": 5000,
        "rewards": ["heavy"],
    }


def test_a_recipe_brings_its_options(hub: list[str], marble: Marble, recipe: Path) -> None:
    text = recipe.read_text()
    recipe.write_text(text + '[rewards.heavy]\nmodel = "local"\n')
    shown = marble("rewards", "download", "--recipe", recipe)
    assert (shown.code, hub) == (0, [])
    assert "nothing to fetch" in shown.out
    recipe.write_text(text + "[rewards.heavy_again]\n")
    document = json.loads(marble("rewards", "download", "--recipe", recipe, "--json").out)
    assert document["downloads"][0]["rewards"] == ["heavy_again"]


def test_a_recipes_base_model_is_fetched_too(
    hub: list[str], marble: Marble, recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(model: Any) -> Path:
        asked.append(model.pretrained)
        return tmp_path / "cache"

    monkeypatch.setattr("marblecli.models.download.fetch_model", fetch)
    document = json.loads(marble("rewards", "download", "--recipe", recipe, "--json").out)
    assert document["model"] == {"pretrained": asked[0], "folder": str(tmp_path / "cache")}
    assert asked == [str(recipe.parent / "model")]
    alone = json.loads(
        marble("rewards", "download", "--recipe", recipe, "--json", "--no-model").out
    )
    assert "model" not in alone
    assert len(asked) == 1


def test_all_leaves_out_those_that_need_options(
    hub: list[str], marble: Marble, monkeypatch: pytest.MonkeyPatch
) -> None:
    (ours,) = [one for one in entry_points(group="marble") if one.name == "heavy-rewards"]
    monkeypatch.setattr("marblecli.rewards.host.metadata.entry_points", lambda group: [ours])
    document = json.loads(marble("rewards", "download", "--all", "--json").out)
    assert document["rewards"] == ["heavier", "heavy"]


@pytest.mark.usefixtures("empty_cache")
def test_without_a_network_it_is_one_line_and_exit_code_1(marble: Marble) -> None:
    shown = marble("rewards", "download", "heavy")
    assert shown.code == 1
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("marble: someone/weights at 0123456789ab isn't in the hub's cache")


@pytest.mark.usefixtures("empty_cache")
def test_a_run_without_the_files_names_the_command(recipe: Path) -> None:
    for setting, options in (("weight=1", ""), ("model=some/other", " --set model=some/other")):
        plan = load_plan(recipe, [f"rewards.heavy.{setting}"])
        with pytest.raises(MarbleError) as caught:
            build_suite(plan, "cpu")
        assert f"; run `marble rewards download heavy{options}` where" in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.usefixtures("empty_cache")
def test_so_does_a_check(marble: Marble) -> None:
    shown = marble("rewards", "check", "heavy", "--set", "model=some/other", "--json")
    assert shown.code == 1
    (failed,) = [one for one in json.loads(shown.out)["checks"] if one["status"] == "failed"]
    assert "; run `marble rewards download heavy --set model=some/other` where" in failed["detail"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "give names of rewards, --recipe RECIPE, or --all"),
        (["heavy", "--all"], "give names of rewards, --recipe RECIPE, or --all"),
        (["heavy", "heavier", "--set", "model=a/b"], "--set is for one named reward"),
        (["heavie"], "unknown reward 'heavie' (did you mean 'heavier'?)"),
        (["needy"], "rewards.needy.url: is required but missing"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(
    marble: Marble, arguments: list[str], reason: str
) -> None:
    shown = marble("rewards", "download", *arguments)
    assert shown.code == 2
    assert shown.err.startswith(f"marble: {reason}")
    assert len(shown.err.splitlines()) == 1


def test_it_starts_without_torch(run_and_tell: Callable[..., tuple[str, set[str]]]) -> None:
    assert "torch" not in run_and_tell("rewards", "download", "shapes-colour")[1]
