from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import site_pages

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("name", "link", "expected"),
    [
        ("index.md", "[a](docs/results.md#x)", "[a](results.md#x)"),
        ("index.md", "![a](docs/images/q.png)", "![a](images/q.png)"),
        ("index.md", "[a](CONTRIBUTING.md#b)", "[a](contributing.md#b)"),
        ("conflicts.md", "[a](balance.md)", "[a](balance.md)"),
        ("conflicts.md", "[a](../CHANGELOG.md)", "[a](changelog.md)"),
        ("conflicts.md", "[a](#there)", "[a](#there)"),
        ("conflicts.md", "[a](https://b.c/d)", "[a](https://b.c/d)"),
        ("conflicts.md", "[`a[b]`](../src/x.py)", "`a[b]`"),
        ("conflicts.md", "```\n[a](../src/x.py)\n```", "```\n[a](../src/x.py)\n```"),
    ],
)
def test_links_lead_somewhere_in_the_site(name: str, link: str, expected: str) -> None:
    assert site_pages.site_links(link, name) == expected


def test_files_outside_of_the_site_are_links_where_the_repository_has_an_address() -> None:
    found = site_pages.site_links("[a](../src/x.py#L1)", "conflicts.md", "https://host/o/n/")
    assert found == "[a](https://host/o/n/blob/main/src/x.py#L1)"


def test_every_page_is_in_the_navigation() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    nav = yaml.safe_load(text[text.index("nav:") : text.index("theme:")])["nav"]
    entries = [entry for item in nav for entry in item.values()]
    single = {entry for entry in entries if isinstance(entry, str)}
    grouped = [each for entry in entries if isinstance(entry, list) for each in entry]
    shown = single | {page for each in grouped for page in each.values()}
    pages = {page.name for page in (ROOT / "docs").glob("*.md")}
    assert shown == pages | set(site_pages.ROOT_PAGES.values())
