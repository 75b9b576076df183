from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest

from marblecli.errors import BadInputError, MarbleError
from marblecli.rewards.host import (
    InstalledReward,
    NameClash,
    PluginFailure,
    RewardCatalog,
    discover,
)
from marblecli.rewards.hub import MissingFilesError
from marblecli.rewards.spec import Build, HubFiles, NoOptions, RewardBatch, RewardSpec, Scorer

InstallPlugin = Callable[..., None]

GOOD = """
from marblecli.rewards import RewardSpec, hookimpl

def build(options, device):
    return lambda batch: [0.5] * len(batch.prompts)

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec(name="{name}", summary="Half.", build=build))
"""

REGISTERS = """
from marblecli.rewards import NoOptions, RewardSpec, hookimpl
from pydantic import BaseModel

class Loose(BaseModel):
    size: int = 1

class Greedy(NoOptions):
    weight: float = 1.0
    timeout: float = 60.0
    device: str = "cpu"

def spec(**changes):
    return RewardSpec(**{{"name": "odd", "summary": "", "build": print, **changes}})

@hookimpl
def marble_register_rewards(register):
    {body}
"""


class Options(NoOptions):
    size: int = 1
    mode: Literal["fast", "slow"] = "fast"


def build(options: Options, device: str) -> Scorer:
    return lambda batch: [float(options.size)] * len(batch.prompts)


def catalog_of(*specs: RewardSpec) -> RewardCatalog:
    return RewardCatalog({spec.name: InstalledReward(spec, "dist", "1.0") for spec in specs})


SHARP = RewardSpec("sharp", "Sharpness.", build, options=Options)


def test_an_installed_plugin_is_found_with_its_distribution(install_plugin: InstallPlugin) -> None:
    install_plugin("strange-rewards", GOOD.format(name="half"), version="2.1")
    found = discover().get("half")
    assert (found.distribution, found.version) == ("strange-rewards", "2.1")
    assert found.spec.summary == "Half."
    assert found.module == "plugin_strange_rewards"


def test_a_broken_plugin_is_recorded_and_takes_none_down(install_plugin: InstallPlugin) -> None:
    install_plugin("broken-one", "raise RuntimeError('no\\n driver')")
    install_plugin("broken-two", "import package_that_is_not_there")
    install_plugin("whole", GOOD.format(name="half"))
    catalog = discover()
    assert "half" in catalog.rewards
    failures = {failure.distribution: failure for failure in catalog.failures}
    assert failures["broken-one"].message == "RuntimeError: no driver"
    assert str(failures["broken-one"]) == (
        "plugin 'broken-one' of broken-one failed: RuntimeError: no driver"
    )
    assert "package_that_is_not_there" in failures["broken-two"].message


@pytest.mark.parametrize(
    ("body", "fault"),
    [
        ("register(spec(name='two words'))", "letters, digits and dashes"),
        ("register(spec(name=''))", "letters, digits and dashes"),
        ("register(spec(images='bgr'))", "images is one of float, pil, uint8, got 'bgr'"),
        ("register(spec(range=(1.0, 1.0)))", "range must rise, got (1.0, 1.0)"),
        ("register(spec(range=(float('nan'), 1.0)))", "range must rise"),
        ("register(spec(options=dict))", "options is a pydantic model"),
        ("register(spec(options=Loose))", "options must forbid extra keys"),
        ("register(spec(options=Greedy))", "the options device, timeout, weight are marble's own"),
        ("register('sharp')", "'sharp', which is no RewardSpec"),
        ("register(spec()); register(spec())", "registers 'odd' twice"),
        ("register(spec()); raise KeyError('late')", "KeyError: 'late'"),
    ],
)
def test_a_broken_declaration_is_named_and_none_of_the_plugin_is_used(
    install_plugin: InstallPlugin, body: str, fault: str
) -> None:
    install_plugin("odd-rewards", REGISTERS.format(body=body))
    catalog = discover()
    (failure,) = [one for one in catalog.failures if one.distribution == "odd-rewards"]
    assert fault in failure.message
    assert "odd" not in catalog.rewards


def test_a_forgotten_hook_marker_is_explained(install_plugin: InstallPlugin) -> None:
    install_plugin("forgetful", GOOD.format(name="half").replace("@hookimpl", ""))
    (failure,) = discover().failures
    assert "no hook marked with @hookimpl: marble_register_rewards or" in failure.message


def test_a_misspelt_hook_is_explained(install_plugin: InstallPlugin) -> None:
    code = GOOD.format(name="half").replace("marble_register_rewards", "marble_register_reward")
    install_plugin("misspelt", code)
    (failure,) = discover().failures
    assert "marble_register_reward" in failure.message


def test_a_name_claimed_twice_is_usable_by_none(install_plugin: InstallPlugin) -> None:
    install_plugin("first", GOOD.format(name="half"))
    install_plugin("second", GOOD.format(name="half"), version="3.0")
    catalog = discover()
    assert "half" not in catalog.rewards
    (clash,) = catalog.clashes
    line = "reward 'half' is registered by first 1.0 and second 3.0: uninstall all but one of them"
    assert str(clash) == line
    with pytest.raises(BadInputError) as caught:
        catalog.get("half")
    assert str(caught.value) == line
    assert [str(problem) for problem in catalog.check_options("half", {})] == [
        f"rewards.half: {line}"
    ]


def test_an_unknown_reward_gets_choices_and_the_next_command() -> None:
    with pytest.raises(BadInputError) as caught:
        catalog_of(SHARP).get("shrap")
    assert str(caught.value) == (
        "unknown reward 'shrap' (did you mean 'sharp'?); installed: sharp; "
        "see `marble rewards list`"
    )


def test_an_unknown_reward_may_be_in_a_plugin_that_failed() -> None:
    catalog = RewardCatalog({}, failures=(PluginFailure("ocr", "ocr-rewards", "ImportError: x"),))
    with pytest.raises(BadInputError, match=r"ocr-rewards failed: ImportError: x"):
        catalog.get("ocr")


def test_options_are_checked_with_dotted_keys() -> None:
    problems = catalog_of(SHARP).check_options("sharp", {"siez": 2, "mode": "fats"})
    assert sorted(str(problem) for problem in problems) == [
        "rewards.sharp.mode: must be 'fast' or 'slow', got \"fats\"",
        "rewards.sharp.siez: unknown key (did you mean 'size'?)",
    ]
    assert catalog_of(SHARP).check_options("sharp", {"size": 2}) == []
    (problem,) = catalog_of(SHARP).check_options("none", {})
    assert problem.key == "rewards.none"


def test_building_gives_the_plugin_its_validated_options() -> None:
    seen = []

    def note(options: Options, device: str) -> Scorer:
        seen.append((options, device))
        return build(options, device)

    catalog_of(RewardSpec("noted", "", note, options=Options)).build("noted", {"size": 3}, "cpu")
    assert seen == [(Options(size=3), "cpu")]


def test_building_with_wrong_options_is_refused() -> None:
    with pytest.raises(BadInputError, match=r"rewards\.sharp\.size: expected a whole number"):
        catalog_of(SHARP).build("sharp", {"size": "big"}, "cpu")


def test_weights_that_dont_load_are_one_line() -> None:
    def fail(options: NoOptions, device: str) -> Scorer:
        raise OSError("no weights at\n hub/x")

    with pytest.raises(MarbleError) as caught:
        catalog_of(RewardSpec("heavy", "", fail)).build("heavy", {}, "cpu")
    assert str(caught.value) == "reward 'heavy' failed to load: OSError: no weights at hub/x"
    assert caught.value.exit_code == 1


def needs_files(options: Options, device: str) -> Scorer:
    raise MissingFilesError("a/b at 0123 isn't there")


def reads_a_folder(options: Options, device: str) -> Scorer:
    raise FileNotFoundError("no config.json")


@pytest.mark.parametrize(
    ("make", "start"),
    [
        (needs_files, "reward 'heavy': a/b at 0123 isn't there; run "),
        (reads_a_folder, "reward 'heavy' failed to load: FileNotFoundError: no config.json; run "),
    ],
)
@pytest.mark.parametrize(
    ("options", "command"),
    [
        ({}, "marble rewards download heavy"),
        ({"size": 3}, "marble rewards download heavy --set size=3"),
        ({"mode": "slow"}, "marble rewards download heavy --set mode=slow"),
    ],
)
def test_missing_files_are_named_with_the_command_that_gets_these(
    make: Build, start: str, options: dict[str, object], command: str
) -> None:
    files = (HubFiles("a/b", "0" * 40, ("*",)),)
    spec = RewardSpec("heavy", "", make, options=Options, files=lambda _options: files)
    with pytest.raises(MarbleError) as caught:
        catalog_of(spec).build("heavy", options, "cpu")
    assert str(caught.value) == (
        f"{start}`{command}` where there is a network, or set its option to a local folder"
    )


def test_a_reward_without_hub_files_gets_no_such_advice() -> None:
    with pytest.raises(MarbleError) as caught:
        catalog_of(RewardSpec("f", "", reads_a_folder, options=Options)).build("f", {}, "cpu")
    assert str(caught.value) == "reward 'f' failed to load: FileNotFoundError: no config.json"


def test_a_label_gives_a_reward_a_name_of_its_own() -> None:
    catalog = catalog_of(SHARP)
    for name in ("sharp_fine", "sharp_2", "sharp_very-fine"):
        assert catalog.get(name).spec == replace(SHARP, name=name)
    assert catalog.check_options("sharp_fine", {"size": 2}) == []
    (problem,) = catalog.check_options("sharp_fine", {"size": "x"})
    assert problem.key == "rewards.sharp_fine.size"
    assert catalog.build("sharp_fine", {}, "cpu")(RewardBatch([0], ["a"], [{}])) == [1.0]


@pytest.mark.parametrize("name", ["sharp_", "sharp_a_b", "sharp_a b", "_sharp", "shrap_fine"])
def test_not_everything_is_a_label(name: str) -> None:
    with pytest.raises(BadInputError, match=f"unknown reward '{name}'"):
        catalog_of(SHARP).get(name)


def test_validated_options_are_the_plugins_own() -> None:
    assert catalog_of(SHARP).validate("sharp", {"size": 2}) == Options(size=2)
    with pytest.raises(BadInputError, match=r"rewards\.sharp\.siez"):
        catalog_of(SHARP).validate("sharp", {"siez": 2})


def test_a_scorer_that_cant_be_called_is_named() -> None:
    catalog = catalog_of(RewardSpec("odd", "", lambda options, device: 3))  # type: ignore[arg-type,return-value]
    with pytest.raises(MarbleError, match=r"'odd' built 3, which can't be called"):
        catalog.build("odd", {}, "cpu")


def test_a_clash_of_three_names_all() -> None:
    claimants = tuple(InstalledReward(SHARP, name, "1") for name in "abc")
    assert "a 1 and b 1 and c 1" in str(NameClash("reward", "sharp", claimants))


def test_discovery_imports_no_torch() -> None:
    code = "import sys; from marblecli.rewards.host import discover; discover();"
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_options_class_that_is_no_pydantic_model_is_the_cause_that_is_told(
    install_plugin: InstallPlugin,
) -> None:
    install_plugin(
        "odd",
        """
from marblecli.rewards import RewardSpec, hookimpl

class Options:
    size = 1

@hookimpl
def marble_register_rewards(register):
    register(RewardSpec("odd", "", print, options=Options))
""",
    )
    catalog = discover()
    (problem,) = catalog.check_options("odd", {})
    assert str(problem).startswith(
        "rewards.odd: reward 'odd' can't be used: plugin 'odd' of odd failed: TypeError: reward "
        "'odd': options is a pydantic model, got <class"
    )
    assert "installed:" not in str(problem)
    # Of a name that no plugin is about, the names and all failures are told.
    (other,) = catalog.check_options("shapes-color", {})
    assert "did you mean 'shapes-colour'" in str(other)
    assert "plugin 'odd' of odd failed" in str(other)
