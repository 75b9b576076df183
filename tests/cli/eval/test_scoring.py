from __future__ import annotations

from pathlib import Path

import pytest

from marblecli.cli.eval.prepare import Request, prepare
from marblecli.cli.eval.scoring import PICTURED, parts_left, pictured, prompts_of_a_part
from marblecli.runs.evaluation_folder import EvaluationFolder, ScoredPart
from marblecli.types import ScoredImage


@pytest.mark.parametrize(
    ("batch", "images", "processes", "prompts"),
    [(6, 2, 1, 3), (6, 4, 1, 3), (24, 96, 1, 1), (36, 96, 1, 3), (6, 6, 4, 4), (5, 1, 2, 10)],
)
def test_a_part_fills_whole_batches_of_every_process(
    batch: int, images: int, processes: int, prompts: int, finished_run: Path
) -> None:
    overrides = (f"sampling.batch_size={batch}", f"eval.images_per_prompt={images}")
    job = prepare(Request(str(finished_run), overrides=overrides)).job
    assert prompts_of_a_part(job.plan.recipe, "held-out", processes) == prompts
    assert prompts * images % (batch * processes) == 0


def test_what_is_scored_isnt_among_what_is_left(finished_run: Path, tmp_path: Path) -> None:
    overrides = ("sampling.batch_size=1", "eval.images_per_prompt=1")
    job = prepare(Request(str(finished_run), overrides=overrides)).job
    folder = EvaluationFolder.at(tmp_path / "evaluation", {})
    everything = parts_left(job, folder, 1)
    assert [part.subject for part in everything] == ["other"] * 4 + ["target"] * 4
    assert [part.places for part in everything] == [(0,), (1,)] * 4
    image = ScoredImage("a", "scenes", 1, 0, {})
    folder.add(ScoredPart("other", "train", (image,)), {})
    assert parts_left(job, folder, 1) == [part for part in everything if part != everything[1]]


@pytest.mark.parametrize(("prompts", "places"), [(3, [0, 1, 2]), (16, list(range(0, 16, 2)))])
def test_pictures_are_spread_evenly(prompts: int, places: list[int]) -> None:
    assert pictured(prompts) == places
    assert len(pictured(1000)) == PICTURED
