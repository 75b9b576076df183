from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import write_quickstart
from marble_reward_shapes.scenes import BACKGROUNDS, COLOURS, RELATIONS, SHAPES
from write_quickstart import choose_scenes, write_prompts

SIZES = {
    "composition-train": {"count": 84, "position": 156},
    "composition-held-out": {"count": 24, "position": 24},
    "letters-train": {"text": 240},
    "letters-held-out": {"text": 24},
}


def test_each_file_has_its_share_of_each_kind() -> None:
    found = {name: Counter(s.kind for s in scenes) for name, scenes in choose_scenes().items()}
    assert found == SIZES


def test_no_prompt_stands_twice() -> None:
    prompts = [scene.prompt for scenes in choose_scenes().values() for scene in scenes]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("split", ["train", "held-out"])
def test_the_prompts_cover_the_grammar(split: str) -> None:
    scenes = choose_scenes()
    composition, letters = scenes[f"composition-{split}"], scenes[f"letters-{split}"]
    groups = [group for s in composition for group in s.groups]
    assert {group.colour for group in groups} == set(COLOURS)
    assert {group.shape for group in groups} == set(SHAPES)
    assert {s.groups[0].count for s in composition if s.kind == "count"} == {1, 2, 3}
    assert {s.relation for s in composition if s.kind == "position"} == set(RELATIONS)
    assert {s.ink for s in letters} == set(COLOURS)
    assert {s.background for s in letters} == set(BACKGROUNDS)


def test_files_are_the_same_on_every_run(tmp_path: Path) -> None:
    write_prompts(tmp_path / "one")
    command = [sys.executable, write_quickstart.__file__, str(tmp_path / "two")]
    subprocess.run(command, check=True)
    for name in SIZES:
        one, two = ((tmp_path / run / f"{name}.jsonl").read_bytes() for run in ("one", "two"))
        assert one == two


def test_the_shipped_files_are_what_is_written(tmp_path: Path) -> None:
    write_prompts(tmp_path)
    shipped = Path(write_quickstart.__file__).parent
    for name in SIZES:
        file = f"{name}.jsonl"
        assert (tmp_path / file).read_bytes() == (shipped / file).read_bytes()


def test_every_line_carries_its_scenes_metadata(tmp_path: Path) -> None:
    write_prompts(tmp_path)
    for name, scenes in choose_scenes().items():
        lines = (tmp_path / f"{name}.jsonl").read_text().splitlines()
        assert [json.loads(line) for line in lines] == [scene.metadata() for scene in scenes]
