"""mkdocs hooks: pages that stand outside of docs/, and links that lead there.

README.md, CONTRIBUTING.md and CHANGELOG.md are pages of the site too. A link to any other file of
the repository leads to ``repo_url`` if mkdocs.yml has one, and is plain text if it hasn't.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[1]
ROOT_PAGES: Mapping[str, str] = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
}
"""Files beside docs/, and their names in the site."""
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"(?P<image>!?)\[(?P<text>(?:`[^`]*`|[^]`])*)]\((?P<target>[^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand outside of docs/."""
    for source, name in ROOT_PAGES.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links as GitHub reads them into links of the site."""
    del files
    return site_links(markdown, page.file.src_uri, config.repo_url or "")


def site_links(markdown: str, name: str, repository: str = "") -> str:
    """The text of the page ``name`` of the site, with links that lead somewhere there.

    ``repository`` is the address that files outside of the site have.
    """
    sources = {site: source for source, site in ROOT_PAGES.items()}
    folder = posixpath.dirname(sources.get(name, f"docs/{name}"))

    def replaced(match: re.Match[str]) -> str:
        target, hash_sign, place = match["target"].partition("#")
        if not target or ":" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(folder, target))
        site = ROOT_PAGES.get(path, path.removeprefix("docs/") if path.startswith("docs/") else "")
        if site:
            link = posixpath.relpath(site, posixpath.dirname(name) or ".") + hash_sign + place
        elif repository:
            link = f"{repository.rstrip('/')}/blob/main/{path}{hash_sign}{place}"
        else:
            return match["text"]
        return f"{match['image']}[{match['text']}]({link})"

    parts = _FENCE.split(markdown)
    return "".join(part if part[:3] == "```" else _LINK.sub(replaced, part) for part in parts)
