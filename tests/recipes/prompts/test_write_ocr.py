from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from itertools import islice
from pathlib import Path

import write_ocr
from marble_reward_ocr.plugin import OCR
from marble_reward_ocr.similarity import normalise
from marble_reward_ocr.target import target_text
from marblecli.runs.prompts import load_prompts
from prompt_writing import write_lines
from write_ocr import KINDS, Line, draw_prompts

TEXTS = sum(len(kind.texts) for kind in KINDS)


def drawn(count: int, seed: int = 0, excluded: tuple[Path, ...] = ()) -> list[Line]:
    return list(islice(draw_prompts(seed, excluded), count))


def kind_of(line: Line) -> int:
    return next(i for i, kind in enumerate(KINDS) if line["target_text"] in kind.texts)


def test_every_prompt_quotes_its_target_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "train.jsonl", map(json.dumps, draw_prompts(seed=1)), 400)
    prompts = load_prompts(tmp_path / "train.jsonl", "ocr")
    assert len(prompts) == 400
    for prompt in prompts:
        assert OCR.applies(prompt, None)
        assert prompt.text.count('"') == 2
        # Without the metadata too, as the published code reads it.
        assert target_text(prompt.text, {}) == prompt.metadata["target_text"]


def test_texts_are_short_and_plain() -> None:
    for text in (text for kind in KINDS for text in kind.texts):
        assert re.fullmatch(r"[A-Za-z0-9]+( [A-Za-z0-9]+){0,5}", text)
        assert len(text) <= 30


def test_prompts_are_clean_english() -> None:
    prompts = [line["prompt"] for line in drawn(TEXTS)]
    assert len(set(prompts)) == len(prompts) == TEXTS >= 4000
    for prompt in prompts:
        assert not re.search(r"  | ,|,,|^[ ,]|[ ,]$|\b(a|an) (a|an)\b", prompt)
        assert not re.search(r"\ba [aeio]|\ban [^aeiou]", prompt.split('"')[0])


def test_no_text_comes_twice() -> None:
    assert len({normalise(line["target_text"]) for line in drawn(TEXTS)}) == TEXTS


def test_the_kinds_come_in_turn_until_they_have_no_more() -> None:
    lines = drawn(TEXTS)
    start = [kind_of(line) for line in lines[:21]]
    assert start == [*range(len(KINDS))] * 3
    assert Counter(map(kind_of, lines)) == {i: len(kind.texts) for i, kind in enumerate(KINDS)}


def test_carriers_and_places_vary() -> None:
    prompts = [line["prompt"] for line in drawn(1000)]
    for carrier, places in (item for kind in KINDS for item in kind.carriers.items()):
        uses = [prompt for prompt in prompts if f'{carrier} "' in prompt]
        assert uses
        assert all(any(place in prompt for prompt in uses) for place in places)


def test_a_seed_gives_the_same_lines() -> None:
    assert drawn(60, seed=5) == drawn(60, seed=5) != drawn(60, seed=6)


def test_excluded_texts_are_left_out_however_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    path.write_text('a sign "mind THE step"\na poster: \u201cTake One\u201d\na cat\n', "utf-8")
    gone = {line["target_text"] for line in drawn(TEXTS)} - {
        line["target_text"] for line in drawn(TEXTS, excluded=(path,))
    }
    assert gone == {"Mind the Step", "Take One"}


def test_one_file_can_be_kept_out_of_the_other(tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.jsonl"
    write_lines(held_out, map(json.dumps, draw_prompts(seed=1)), 200)
    targets = {json.loads(line)["target_text"] for line in held_out.read_text("utf-8").splitlines()}
    rest = {line["target_text"] for line in drawn(TEXTS, excluded=(held_out,))}
    assert len(targets) == 200
    assert not targets & rest
    assert len(rest) == TEXTS - 200


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, write_ocr.__file__, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path = tmp_path / "out.jsonl"
    done = run(str(path), "--count", "12", "--seed", "4")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines == drawn(12, seed=4)
    missing = run(str(path), "--exclude", str(tmp_path / "none.jsonl"))
    assert missing.returncode == 2
    assert "none.jsonl: can't read the prompts" in missing.stderr
