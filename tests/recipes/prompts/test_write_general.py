from __future__ import annotations

import re
import subprocess
import sys
from itertools import islice
from pathlib import Path

import write_general
from marblecli.runs.prompts import load_prompts
from prompt_writing import write_lines
from write_general import THEMES, Theme, draw_prompts

SCENES = sum(theme.size for theme in THEMES)


def drawn(count: int, seed: int = 0, excluded: tuple[Path, ...] = ()) -> list[str]:
    return list(islice(draw_prompts(seed, excluded), count))


def scenes(theme: Theme) -> list[str]:
    return [theme.scene(number) for number in range(theme.size)]


def theme_of(prompt: str) -> int:
    (found,) = {i for i, theme in enumerate(THEMES) if any(one in prompt for one in scenes(theme))}
    return found


def test_a_theme_numbers_all_its_scenes() -> None:
    theme = Theme((("a cat", "a dog"), ("asleep", "awake", "away")))
    assert theme.size == 6
    assert scenes(theme) == [
        *("a cat asleep", "a cat awake", "a cat away"),
        *("a dog asleep", "a dog awake", "a dog away"),
    ]


def test_there_are_thousands_of_scenes_and_each_comes_once() -> None:
    everything = [scene for theme in THEMES for scene in scenes(theme)]
    assert len(set(everything)) == len(everything) == SCENES > 10_000
    told = "\n".join(drawn(600))
    assert sum(told.count(scene) for scene in everything) == 600


def test_prompts_are_clean_english() -> None:
    prompts = drawn(SCENES)
    assert len(set(prompts)) == len(prompts) == SCENES
    for prompt in prompts:
        assert re.fullmatch(r"[A-Za-z0-9' ,-]+", prompt)
        assert not re.search(r"  | ,|,,|^[ ,]|[ ,]$|\b(a|an) (a|an)\b", prompt)
        assert not re.search(r"\ba [aeio]|\ban [^aeiou]", prompt)


def test_nothing_is_quoted() -> None:
    """Rewards of texts don't apply to these prompts."""
    assert not any(mark in prompt for prompt in drawn(SCENES) for mark in '"\u201c\u201d')


def test_the_themes_come_in_turn() -> None:
    assert [theme_of(prompt) for prompt in drawn(30)] == [*range(len(THEMES))] * 5


def test_lengths_and_styles_vary() -> None:
    prompts = drawn(1000)
    plain = sum("," not in prompt and " of " not in prompt for prompt in prompts)
    assert 100 < plain < 300
    assert max(map(len, prompts)) > 2 * min(map(len, prompts))


def test_a_seed_gives_the_same_prompts() -> None:
    assert drawn(60, seed=5) == drawn(60, seed=5) != drawn(60, seed=6)


def test_excluded_scenes_are_left_out_in_whatever_style(tmp_path: Path) -> None:
    path = tmp_path / "test.txt"
    scene, other = THEMES[0].scene(7), THEMES[3].scene(11)
    path.write_text(f"a photo of {scene}, very sharp\nsomething else\n{other}\n", "utf-8")
    kept = "\n".join(drawn(SCENES, excluded=(path,)))
    assert scene not in kept
    assert other not in kept
    assert kept.count("\n") + 1 == SCENES - 2


def test_files_are_read_as_prompts(tmp_path: Path) -> None:
    held_out, train = tmp_path / "held-out.txt", tmp_path / "train.txt"
    write_lines(held_out, draw_prompts(seed=1), 50)
    write_lines(train, draw_prompts(seed=0, excluded=[held_out]), 200)
    assert [prompt.text for prompt in load_prompts(held_out, "general")] == drawn(50, seed=1)
    assert len({prompt.text for prompt in load_prompts(train, "general")}) == 200


def test_the_command(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, write_general.__file__, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    path = tmp_path / "out.txt"
    done = run(str(path), "--count", "12", "--seed", "4")
    assert done.returncode == 0, done.stderr
    assert path.read_text("utf-8").splitlines() == drawn(12, seed=4)
    missing = run(str(path), "--exclude", str(tmp_path / "none.txt"))
    assert missing.returncode == 2
    assert "none.txt: can't read the prompts" in missing.stderr
