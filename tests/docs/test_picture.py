from __future__ import annotations

from pathlib import Path

import pytest
import typer
from PIL import Image

import picture
from marblecli.runs.samples import save_samples
from support.pictures import evaluation, images_of

PROMPTS = {"train": [("a cat", "plain"), ("a dog", "plain")]}
BASE = evaluation(0, PROMPTS, 2, lambda split, place, number: {"x": float(number)})


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    """A directory with the pictures of the base model and of two evaluations."""
    folder = tmp_path / "run" / "samples"
    folder.mkdir(parents=True)
    (folder.parent / "recipe.toml").write_text("")
    for step in (0, 5, 9):
        record = evaluation(step, PROMPTS, 2, lambda split, place, number: {"x": 2.0 * place})
        save_samples(folder, BASE, BASE if step == 0 else record, images_of(record, 8, 8, step))
    return folder.parent


@pytest.mark.parametrize("kind", picture.Kind)
def test_the_last_picture_of_the_kind_is_written(
    run_dir: Path, tmp_path: Path, kind: picture.Kind, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "new" / "a.png"
    picture.main(run_dir, file, kind)
    found = picture.last_picture(picture.Run.open(run_dir), kind)
    assert (found.step, found.kind) == (9, kind)
    with Image.open(file) as written, Image.open(found.path) as drawn:
        assert written.size == drawn.size
    assert "a cat" in capsys.readouterr().out


def test_a_run_without_pictures_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(typer.BadParameter, match="no picture of the kind 'changed'"):
        picture.main(tmp_path, tmp_path / "a.png", picture.Kind.CHANGED)
