from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import ModelCard

Marble = Callable[..., Any]


def test_a_finished_run_has_its_card_with_results_and_pictures(finished_run: Path) -> None:
    export = finished_run / "export"
    card = ModelCard.load(export / "README.md")
    text = card.content
    assert card.data.to_dict()["library_name"] == "diffusers"
    assert "### Held-out prompts" in text
    assert "| shapes-colour | 0." in text
    assert "moving average of the weights after 4 steps" in text
    pictures = [path.relative_to(export).as_posix() for path in (export / "images").iterdir()]
    assert pictures
    for picture in pictures:
        assert f"]({picture})" in text
    # Neither the base's folder nor the prompts' is told.
    assert str(finished_run.parent.parent) not in text
    assert 'train = "train.jsonl"' in text


def test_weights_that_were_not_evaluated_have_no_results(
    marble: Marble, finished_run: Path, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished_run, tmp_path / "run"))
    for option in (("--weights", "trained"), ("--step", 2)):
        assert marble("export", run, "--format", "diffusers", *option).code == 0
    for folder in ("trained", "step-000002"):
        text = (run / "export" / folder / "README.md").read_text()
        assert "These weights weren't evaluated." in text
        assert "![" not in text
