"""What the pages quote can be used: TOML parses, scripts parse, and commands have these options."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
import typer.core
import typer.main

from marblecli.cli.main import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("recipes/**/*.md"),
     *ROOT.glob("plugins/*/README.md")]
)  # fmt: skip
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`(marble [^`\n]+)`")
each_page = pytest.mark.parametrize(
    "page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES]
)


def fenced(page: Path, *languages: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return [body for language, body in _FENCE.findall(text) if language in languages]


def quoted_commands(page: Path) -> Iterator[list[str]]:
    """The arguments after ``marble`` of every command that the page quotes."""
    lines = [*_INLINE.findall(page.read_text(encoding="utf-8"))]
    for body in fenced(page, "sh", "bash"):
        lines += body.replace("\\\n", " ").splitlines()
    for line in lines:
        for part in re.split(r"&&|[|;]", line):
            words = shlex.split(part, comments=True)
            place = next((n for n, word in enumerate(words) if _is_marble(words, n)), None)
            if place is not None:
                yield words[place + 1 :]


def _is_marble(words: list[str], place: int) -> bool:
    """Whether the word is the program's name, or the last word of what runs it."""
    word = words[place]
    as_module = word == "marblecli" and words[place - 1 : place] == ["-m"]
    return word == "marble" or as_module or (place == 0 and word.endswith("/marble"))


def problem(words: list[str]) -> str | None:
    """What is wrong with the arguments; None if the commands and options exist."""
    command = typer.main.get_command(app)
    rest = list(words)
    while isinstance(command, typer.core.TyperGroup) and rest and not rest[0].startswith("-"):
        name = rest.pop(0)
        if name.isupper() or "." in name or "$" in name:
            return None  # a placeholder, or a variable
        if name not in command.commands:
            return f"no command {name!r}"
        command = command.commands[name]
    known = {opt for parameter in command.params for opt in parameter.opts} | {"--help", "-h"}
    options = [word.split("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    wrong = [option for option in options if option not in known]
    return f"no option {wrong[0]}" if wrong else None


@each_page
def test_toml_parses(page: Path) -> None:
    for body in fenced(page, "toml"):
        tomllib.loads(body)


@each_page
def test_scripts_parse(page: Path) -> None:
    for body in fenced(page, "bash"):
        subprocess.run(["bash", "-n"], input=body, text=True, check=True)


@each_page
def test_commands_and_their_options_exist(page: Path) -> None:
    found = {" ".join(words): problem(words) for words in quoted_commands(page)}
    assert {words: why for words, why in found.items() if why} == {}


def test_a_wrong_command_and_a_wrong_option_are_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    script = "```sh\npython -m marblecli train x \\\n  --stepz 3 # no\n```\n"
    page.write_text(f"`marble trian x`\n{script}")
    assert [problem(words) for words in quoted_commands(page)] == [
        "no command 'trian'",
        "no option --stepz",
    ]
    page.write_text("`marble train r.toml --set a=1`, `marble rewards list`, `marble COMMAND --x`")
    assert [problem(words) for words in quoted_commands(page)] == [None, None, None]
    assert len(list(quoted_commands(ROOT / "README.md"))) > 5
