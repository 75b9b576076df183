from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

import write_geneval
from marble_reward_geneval.request import parse_request
from marble_reward_geneval.vocabulary import CLASSES, TAGS
from marblecli.errors import BadInputError
from marblecli.runs.prompts import load_prompts
from prompt_writing import write_lines
from write_geneval import draw_prompts, plural, scene_key


def drawn(count: int, seed: int = 0, **more: Any) -> list[dict[str, Any]]:
    return list(islice(draw_prompts(seed, **more), count))


def write(path: Path, *lines: dict[str, Any]) -> Path:
    write_lines(path, map(json.dumps, lines), len(lines))
    return path


def key(*include: dict[str, Any]) -> Any:
    return scene_key(parse_request({"include": list(include)}))


def test_the_tags_come_in_turn() -> None:
    lines = drawn(120)
    assert Counter(line["tag"] for line in lines) == dict.fromkeys(TAGS, 20)
    assert [line["tag"] for line in lines[:6]] == list(TAGS)


def test_lines_are_read_as_prompts_with_the_metadata_of_geneval(tmp_path: Path) -> None:
    write(tmp_path / "train.jsonl", *drawn(300, seed=1))
    prompts = load_prompts(tmp_path / "train.jsonl", "geneval")
    assert len(prompts) == len({prompt.text for prompt in prompts}) == 300
    for prompt in prompts:
        request = parse_request(prompt.metadata)
        assert prompt.text.startswith("a photo of ")
        assert set(prompt.metadata) == {"tag", "include"} | (
            {"exclude"} if request.tag == "counting" else set()
        )
        for clause in request.include:
            word = plural(clause.name) if clause.count > 1 else clause.name
            assert word in prompt.text
            assert (clause.color or "") in prompt.text


def test_metadata_by_tag() -> None:
    lines = {line["tag"]: line for line in drawn(6, seed=3)}
    requests = {tag: parse_request({**line, "tag": tag}) for tag, line in lines.items()}
    counted = requests["counting"].include[0]
    assert 2 <= counted.count <= 4
    assert [(one.name, one.count) for one in requests["counting"].exclude] == [
        (counted.name, counted.count + 1)
    ]
    target, placed = requests["position"].include
    assert placed.position is not None
    assert placed.position[1] == 0
    text = lines["position"]["prompt"]
    assert text.index(placed.name) < text.index(placed.position[0]) < text.rindex(target.name)
    colours = [clause.color for clause in requests["color_attr"].include]
    assert len(set(colours)) == 2
    assert "person" not in {clause.name for clause in requests["color_attr"].include}


def test_a_seed_gives_the_same_lines() -> None:
    assert drawn(60, seed=5) == drawn(60, seed=5) != drawn(60, seed=6)


@pytest.mark.parametrize(
    ("tag", "count"), [("single_object", 80), ("counting", 240), ("colors", 790)]
)
def test_all_scenes_of_a_tag_are_reached(tag: str, count: int) -> None:
    lines = list(draw_prompts(0, tags=(tag,)))
    assert len(lines) == len({line["prompt"] for line in lines}) == count


def test_two_objects_come_in_one_order_only() -> None:
    assert len(list(draw_prompts(0, tags=("two_object",)))) == 80 * 79 // 2


def test_when_a_tag_has_no_more_scenes_the_others_go_on() -> None:
    tags = Counter(
        line["tag"] for line in drawn(1000, tags=("single_object", "colors", "position"))
    )
    assert tags == {"single_object": 80, "colors": 460, "position": 460}


def test_excluded_scenes_are_left_out_whichever_way_they_are_told(tmp_path: Path) -> None:
    dogs = {"class": "dog", "count": 1}
    cats = {"class": "cat", "count": 1}
    path = write(
        tmp_path / "test.jsonl",
        {"prompt": "a photo of two sheeps", "include": [{"class": "sheep", "count": 2}]},
        {"prompt": "cat, dog", "include": [cats, dogs]},
        {"prompt": "a photo of a red bear", "include": [dogs]},
    )
    tags = ("two_object", "counting", "colors")
    everything, kept = (
        {line["prompt"] for line in draw_prompts(0, paths, tags)} for paths in ([], [path])
    )
    gone = everything - kept
    assert len(gone) == 3
    assert {"a photo of two sheep", "a photo of a red bear"} < gone
    assert gone & {"a photo of a dog and a cat", "a photo of a cat and a dog"}


def test_texts_without_metadata_are_left_out_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text("a photo of a dog\nwhatever\n", encoding="utf-8")
    texts = {line["prompt"] for line in draw_prompts(0, [path], ("single_object",))}
    assert len(texts) == 79
    assert "a photo of a dog" not in texts


def test_an_excluded_file_of_another_kind_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "test.jsonl", {"prompt": "a hat", "include": [{"class": "hat"}]})
    with pytest.raises(BadInputError, match=r"test\.jsonl: 'a hat': "):
        drawn(1, excluded=[path])


def test_scenes_that_are_the_same_have_the_same_key() -> None:
    dog, cat = {"class": "dog", "count": 1}, {"class": "cat", "count": 1}
    assert key(dog, cat) == key(cat, dog)
    left = key(dog, {**cat, "position": ["left of", 0]})
    assert left == key(cat, {**dog, "position": ["right of", 0]})
    above = key(dog, {**cat, "position": ["above", 0]})
    assert above == key(cat, {**dog, "position": ["below", 0]})
    red = {**dog, "color": "red"}
    others = [key(dog, cat), left, above, key(red, cat), key(dog, {**cat, "color": "red"})]
    others += [key(cat, {**dog, "position": ["left of", 0]}), key(dog), key({**dog, "count": 2})]
    assert len(set(others)) == len(others)


@pytest.mark.parametrize(
    ("name", "several"),
    [
        ("dog", "dogs"),
        ("bus", "buses"),
        ("bench", "benches"),
        ("toothbrush", "toothbrushes"),
        ("wine glass", "wine glasses"),
        ("knife", "knives"),
        ("sheep", "sheep"),
        ("computer mouse", "computer mice"),
    ],
)
def test_plurals(name: str, several: str) -> None:
    assert plural(name) == several


def test_every_class_has_a_plural_of_its_own() -> None:
    assert len({plural(name) for name in CLASSES}) == len(CLASSES)


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, write_geneval.__file__, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path = tmp_path / "out.jsonl"
    done = run(str(path), "--count", "12", "--seed", "4", "--tag", "counting")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == drawn(12, seed=4, tags=("counting",))
    missing = run(str(path), "--exclude", str(tmp_path / "none.jsonl"))
    assert missing.returncode == 2
    assert "none.jsonl: can't read the prompts" in missing.stderr
