"""A page in a real browser without a screen: what its console says, and what a reader can see."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from html import escape, unescape
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
BROWSER = next(filter(None, map(shutil.which, NAMES)), None)
"""The browser to use; None where none is installed."""
_OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--virtual-time-budget=5000",
    "--dump-dom",
)

# A window can't be as narrow as a phone, but a frame in it can.
_FRAME = """<!DOCTYPE html>
<iframe id="page" width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
document.getElementById("page").addEventListener("load", (event) => {{
  const view = event.target.contentDocument, width = event.target.contentWindow.innerWidth;
  view.querySelectorAll("details").forEach((each) => each.open = true);
  const cut = [...view.querySelectorAll("table, th, td")].filter((each) => {{
    const box = each.getBoundingClientRect();
    return box.width && (box.left < 0 || box.right > width || each.scrollWidth > box.width + 1);
  }});
  const found = {{
    width: view.documentElement.scrollWidth,
    tables: view.querySelectorAll("table").length,
    cut: cut.map((each) => each.textContent.trim()),
    seen: view.body.innerText,
  }};
  document.getElementById("found").textContent = JSON.stringify(found);
}});
</script>
"""


@dataclass(frozen=True)
class Loaded:
    """A page as a reader of a screen sees it, with everything unfolded."""

    width: int
    """In pixels, of all that the page holds; wider than the screen if it scrolls sideways."""
    tables: int
    cut: list[str]
    """The texts of tables and cells that don't fit on the screen or in their box."""
    seen: str
    """All text that is shown."""
    console: list[str]
    """What the browser's console says: errors and warnings."""


def load(page: str, width: int, folder: Path) -> Loaded:
    """Load an HTML page on a screen ``width`` pixels wide; ``folder`` is for what this needs."""
    assert BROWSER is not None
    frame = folder / "frame.html"
    frame.write_text(_FRAME.format(width=width, page=escape(page)), encoding="utf-8")
    command = [BROWSER, *_OPTIONS, f"--user-data-dir={folder / 'profile'}", frame.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    match = re.search(r'<pre id="found">(.*?)</pre>', run.stdout, re.DOTALL)
    assert match is not None, run.stdout
    return Loaded(
        **json.loads(unescape(match[1])),
        console=[line for line in run.stderr.splitlines() if ":CONSOLE" in line],
    )
