"""What the written pages point to is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import marblecli
from reference.markdown import fragment

ROOT = Path(__file__).resolve().parents[2]
SOURCE = Path(marblecli.__file__).parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("plugins/*/README.md")])
_FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def prose_of(page: Path) -> str:
    return _FENCE.sub("", page.read_text(encoding="utf-8"))


def fragments(page: Path) -> set[str]:
    return {fragment(line.lstrip("# ")) for line in prose_of(page).splitlines() if line[:1] == "#"}


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(prose_of(page)):
        if "://" in link:
            continue
        path, _, place = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not place or f"#{place}" in fragments(target), link


def test_contributing_has_every_room() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    section = text.partition("## Where things are")[2].partition("\n## ")[0]
    told = set(re.findall(r"^\| `(\w+)/` \|", section, re.MULTILINE))
    # The recipe's schema is a ground file that outgrew a file.
    ground = {"settings"}
    assert told == {folder.parent.name for folder in SOURCE.glob("*/__init__.py")} - ground


def test_the_readme_marks_one_test_command() -> None:
    """.ci/run takes it from there."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    marked = re.findall(r"<!-- the test command -->\n```sh\n(.+)\n```\n", readme)
    assert len(marked) == 1
    assert ".venv/bin/python -m pytest" in marked[0]
