from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from marblecli.cli.eval.targets import find_target
from marblecli.errors import BadInputError


def test_a_run_stands_for_its_newest_checkpoint(finished_run: Path) -> None:
    target = find_target(finished_run)
    assert (target.checkpoint.name, target.step) == ("step-000004", 4)


def test_a_checkpoint_has_the_recipe_of_its_run(finished_run: Path) -> None:
    target = find_target(finished_run / "checkpoints" / "step-000002")
    assert target.step == 2
    assert target.run.recipe_file.samefile(finished_run / "recipe.toml")
    assert target.weights().keys() == find_target(finished_run).weights().keys()


def test_other_weights_are_another_identity(finished_run: Path) -> None:
    early = find_target(finished_run / "checkpoints" / "step-000002")
    assert early.identity() == early.identity() != find_target(finished_run).identity()


@pytest.mark.parametrize(
    ("place", "what"), [("absent", "isn't there"), ("", "is neither a run nor a checkpoint")]
)
def test_what_is_no_target_is_named(place: str, what: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=what):
        find_target(tmp_path / place)


def test_a_checkpoint_that_isnt_whole_is_refused(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "checkpoints" / "step-000002" / "ema.safetensors").unlink()
    with pytest.raises(BadInputError, match="step-000002: no whole checkpoint"):
        find_target(run / "checkpoints" / "step-000002")
