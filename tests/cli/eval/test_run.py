from __future__ import annotations

import json
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file

from marblecli.runs.evaluation_folder import EvaluationFolder

Marble = Callable[..., Any]
REWARDS = {"shapes-colour", "shapes-aesthetic"}


@pytest.fixture
def document(marble: Marble, finished_run: Path, tmp_path: Path) -> dict[str, Any]:
    shown = marble("eval", finished_run, "--json", "--output", tmp_path / "evaluation")
    assert shown.code == 0
    return json.loads(shown.out)


def test_json_has_the_documented_shape(document: dict[str, Any], finished_run: Path) -> None:
    assert document["target"] == str(finished_run)
    assert document["checkpoint"] == "step-000004"
    assert document["split"] == "held-out"
    assert set(document["splits"]) == {"train", "held-out"}
    for part in (document, *document["splits"].values()):
        assert part["prompts"] == 2
        assert set(part["rewards"]) == set(part["compare"]["base"]) == REWARDS
        for name in REWARDS:
            reward, base = part["rewards"][name], part["compare"]["base"][name]
            assert set(reward) == {"mean", "low", "high", "n", "trained"}
            assert set(base) == {"mean", "change", "low", "high", "win_rate"}
            assert reward["trained"]
            assert 0.0 <= base["win_rate"] <= 1.0
            assert reward["low"] <= reward["mean"] <= reward["high"]
            assert base["low"] <= base["change"] <= base["high"]
            assert base["change"] == pytest.approx(reward["mean"] - base["mean"])
    # There is one image of each held-out prompt, and two of each training prompt.
    assert document["rewards"]["shapes-colour"]["n"] == 2
    assert document["splits"]["train"]["rewards"]["shapes-colour"]["n"] == 4


def test_an_evaluation_gives_what_the_run_itself_recorded(
    document: dict[str, Any], finished_run: Path
) -> None:
    first, last = (
        json.loads(line) for line in (finished_run / "evaluations.jsonl").read_text().splitlines()
    )
    for split, part in document["splits"].items():
        for name in REWARDS:
            assert part["compare"]["base"][name]["mean"] == first[split][name]
            assert part["rewards"][name]["mean"] == last[split][name]


def test_it_has_every_prompt_source_and_names_what_is_also_trained(
    document: dict[str, Any],
) -> None:
    """The held-out prompts are one that is also trained on, and one that isn't."""
    assert document["sources"]["scenes"]["rewards"] == document["rewards"]
    assert document["sources"]["scenes"]["prompts"] == 2
    assert document["also_trained"] == {"count": 1, "prompts": ["a blue square on black"]}
    assert document["splits"]["train"]["also_trained"]["count"] == 0


def test_the_result_and_the_pictures_are_in_the_output_folder(
    document: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "evaluation"
    assert document["output"] == str(folder)
    written = json.loads((folder / "result.json").read_text())
    assert written == {"schema": 1, **document}
    names = {path.name for path in (folder / "samples").iterdir()}
    assert {"step-000004.png", "step-000004.json"} <= names


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, in which evaluations may be written."""
    return shutil.copytree(finished_run, tmp_path / "run")


def test_a_checkpoint_can_be_evaluated_and_compared_with_another(marble: Marble, run: Path) -> None:
    early, late = (run / "checkpoints" / f"step-{step:06d}" for step in (2, 4))
    shown = marble("eval", late, "--compare", early, "--json")
    assert shown.code == 0
    document = json.loads(shown.out)
    assert list(document["compare"]) == [str(early)]
    first, last = (
        json.loads(marble("eval", each, "--json").out)["rewards"]["shapes-colour"]["mean"]
        for each in (early, run)
    )
    compared = document["compare"][str(early)]["shapes-colour"]
    assert compared["mean"] == pytest.approx(first, rel=1e-6)
    assert document["rewards"]["shapes-colour"]["mean"] == pytest.approx(last, rel=1e-6)


def exported(run: Path) -> Path:
    """The run's average, as diffusers writes an adapter."""
    layers = load_file(run / "checkpoints" / "step-000004" / "ema.safetensors")
    settings = {"r": 2, "lora_alpha": 4}
    StableDiffusion3Pipeline.save_lora_weights(
        run / "export", layers, transformer_lora_adapter_metadata=settings
    )
    return run / "export" / "pytorch_lora_weights.safetensors"


def test_a_run_its_checkpoint_and_its_export_have_the_same_scores(
    marble: Marble, run: Path
) -> None:
    file = exported(run)
    run_, checkpoint, export = (
        json.loads(marble("eval", place, "--json").out)
        for place in (run, run / "checkpoints" / "step-000004", file)
    )
    assert run_["splits"] == checkpoint["splits"]
    assert run_["checkpoint"] == checkpoint["checkpoint"] == "step-000004"
    for split, part in run_["splits"].items():
        assert export["splits"][split]["rewards"].keys() == part["rewards"].keys()
        for name, reward in part["rewards"].items():
            mean = export["splits"][split]["rewards"][name]["mean"]
            assert mean == pytest.approx(reward["mean"], abs=1e-6)
    assert Path(export["output"]).parent == run / "evaluations"


def test_an_adapter_elsewhere_and_its_base_are_scored_on_given_prompts(
    marble: Marble, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.move(exported(run), tmp_path / "mine.safetensors")
    (tmp_path / "mine.txt").write_text("a red square on black\na blue square on black\n")
    with (run / "recipe.toml").open("rb") as file:
        base = tomllib.load(file)["model"]["pretrained"]
    settings = {
        "sampling.resolution": 32, "eval.steps": 2, "model.dtype": "fp32",
        "model.max_sequence_length": 1,
    }  # fmt: skip
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    alone = marble("eval", "mine.safetensors", "--base", base, *sets)
    assert alone.code == 2
    assert "give --prompts FILE and --rewards NAMES, or --recipe RECIPE" in alone.err
    command = ("--prompts", "mine.txt", "--rewards", "jpeg", "--json", "--images-per-prompt", 1)
    shown = marble("eval", "mine.safetensors", "--base", base, *command, *sets)
    assert shown.code == 0
    document = json.loads(shown.out)
    assert document["rewards"]["jpeg"]["n"] == 2
    assert not document["rewards"]["jpeg"]["trained"]
    assert document["output"].startswith("evaluations/mine.safetensors-")
    model = json.loads(marble("eval", base, *command, *sets).out)
    compared = model["compare"]["base"]["jpeg"]
    assert compared["mean"] == pytest.approx(document["compare"]["base"]["jpeg"]["mean"], abs=1e-5)
    assert compared["win_rate"] == 0.5


def test_what_is_compared_with_itself_has_no_interval(marble: Marble, run: Path) -> None:
    document = json.loads(marble("eval", run, "--compare", run, "--json").out)
    for compared in document["compare"][str(run)].values():
        assert (compared["change"], compared["win_rate"]) == (0.0, 0.5)
        assert (compared["low"], compared["no_interval"]) == (None, "no spread")


def test_any_installed_reward_can_score_and_says_that_it_isnt_trained(
    marble: Marble, run: Path
) -> None:
    shown = marble("eval", run, "--rewards", "jpeg,shapes-colour", "--images-per-prompt", 1)
    assert shown.code == 0
    assert "jpeg" in shown.out
    assert "Not trained: jpeg." in shown.out
    assert "shapes-aesthetic" not in shown.out
    wrong = marble("eval", run, "--rewards", "jpg")
    assert wrong.code == 2
    assert "eval.rewards.jpg: unknown reward 'jpg' (did you mean 'jpeg'?)" in wrong.err


def test_a_reward_that_is_asked_for_and_applies_to_nothing_is_refused(
    marble: Marble, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a red square on black\n")
    shown = marble("eval", run, "--rewards", "shapes-colour", "--prompts", tmp_path / "mine.txt")
    assert (shown.code, shown.out) == (2, "")
    assert "--rewards shapes-colour: applies to no prompt that is evaluated" in shown.err


def test_one_prompt_has_no_interval_for_other_prompts(
    marble: Marble, run: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.txt").write_text("a red square on black\n")
    shown = marble("eval", run, "--json", "--prompts", tmp_path / "mine.txt")
    reward = json.loads(shown.out)["rewards"]["shapes-aesthetic"]
    assert (reward["low"], reward["high"], reward["no_interval"]) == (None, None, "one image")
    shown = marble("eval", run, "--prompts", tmp_path / "mine.txt", "--images-per-prompt", 2)
    assert "one prompt" in shown.out


def test_an_evaluation_that_was_stopped_goes_on_with_equal_scores(
    marble: Marble, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = json.loads(marble("eval", run, "--json").out)
    kept = EvaluationFolder.add
    left = [3]

    def stop_at_the_third(*arguments: Any) -> None:
        kept(*arguments)
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    # Another request, so that nothing of the first evaluation is there.
    command = ("eval", run, "--compare", run, "--json")
    with monkeypatch.context() as patch:
        patch.setattr(EvaluationFolder, "add", stop_at_the_third)
        stopped = marble(*command)
    assert (stopped.code, stopped.out) == (130, "")
    assert "the same command goes on" in stopped.err
    loaded = []
    with monkeypatch.context() as patch:
        patch.setattr(
            EvaluationFolder, "add", lambda *given: (loaded.append(given[1].split), kept(*given))
        )
        again = marble(*command)
    assert "going on: 10 images are scored already" in again.err
    # Of four parts, base and target on two splits, only the last one was left.
    assert loaded == ["held-out"]
    assert json.loads(again.out)["rewards"] == whole["rewards"]


def test_two_processes_score_as_one(marble: Marble, run: Path, tmp_path: Path) -> None:
    one, two = (
        json.loads(marble("eval", run, "--json", "--output", tmp_path / str(count), *more).out)
        for count, more in ((1, ()), (2, ("--num-processes", 2)))
    )
    for name in REWARDS:
        assert two["rewards"][name]["mean"] == pytest.approx(one["rewards"][name]["mean"], rel=1e-4)
        assert two["rewards"][name]["n"] == one["rewards"][name]["n"]


def test_prompts_and_image_counts_can_be_given(marble: Marble, run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("a red square on black\na blue square on black\n\n")
    shown = marble(
        "eval", run, "--json", "--prompts", tmp_path / "mine.txt",
        "--images-per-prompt", 3,
    )  # fmt: skip
    assert shown.code == 0
    document = json.loads(shown.out)
    assert (document["split"], document["prompts"]) == ("mine.txt", 2)
    assert list(document["splits"]) == ["mine.txt"]
    # A text file has no metadata, which the colour reward needs.
    assert set(document["rewards"]) == {"shapes-aesthetic"}
    assert document["rewards"]["shapes-aesthetic"]["n"] == 6


def test_without_json_there_is_a_table_for_each_split(marble: Marble, run: Path) -> None:
    shown = marble("eval", run, "--images-per-prompt", 1)
    assert shown.code == 0
    for part in ("train prompts", "held-out prompts", "shapes-colour", "step-000004"):
        assert part in shown.out


def test_evaluating_only_adds_a_folder_to_the_run(marble: Marble, run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    marble("eval", run, "--json")
    after = {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file()}
    new = after.keys() - before.keys()
    assert {path.relative_to(run).parts[0] for path in new} == {"evaluations"}
    assert {path: after[path] for path in before} == before


def test_a_run_without_a_checkpoint_cannot_be_evaluated(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    shown = marble("eval", tmp_path / "run", "--json")
    assert (shown.code, shown.out) == (2, "")
    (line,) = shown.err.splitlines()
    assert "holds no whole checkpoint" in line


def test_a_missing_prompt_file_is_one_line(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    shown = marble("eval", finished_run, "--json", "--prompts", tmp_path / "absent.txt")
    assert (shown.code, shown.out) == (2, "")
    assert shown.err.startswith("marble: ")
    assert "absent.txt: can't read the prompts" in shown.err
