"""Write the pages that are generated from the code, or check that they are up to date.

python docs/generate.py            # write docs/recipe.md and docs/cli.md
python docs/generate.py --check    # exit code 1 if one of them is out of date
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated

import typer

from reference.commands import commands_page
from reference.recipe import recipe_page

HERE = Path(__file__).resolve().parent
PAGES: Mapping[str, Callable[[], str]] = {"recipe.md": recipe_page, "cli.md": commands_page}


def main(
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; fail if a page is out of date.")
    ] = False,
) -> None:
    """Write the generated pages of docs/."""
    stale = stale_pages(HERE)
    if check and stale:
        names = ", ".join(f"docs/{name}" for name in stale)
        sys.stderr.write(f"out of date: {names}; run: python docs/generate.py\n")
        raise SystemExit(1)
    for name, text in stale.items():
        (HERE / name).write_text(text, encoding="utf-8")
        sys.stdout.write(f"wrote docs/{name}\n")


def stale_pages(folder: Path) -> dict[str, str]:
    """By name, the new text of every page that is missing from ``folder`` or differs there."""
    texts = {name: page() for name, page in PAGES.items()}
    return {name: text for name, text in texts.items() if _read(folder / name) != text}


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


if __name__ == "__main__":
    typer.run(main)
