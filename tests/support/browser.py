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

_DARK = "--blink-settings=preferredColorScheme=0"

# A window can't be as narrow as a phone, but a frame in it can.
_FRAME = """<!DOCTYPE html>
<iframe id="page" width="{width}" height="900" style="border: 0" srcdoc="{page}"></iframe>
<pre id="found"></pre>
<script>
{look}
</script>
"""
_LOOK = (Path(__file__).parent / "browser.js").read_text(encoding="utf-8")


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
    unnamed: list[str]
    """Images and charts without a text for those who don't see them."""
    pale: list[str]
    """Texts whose contrast with what is behind them is below 4.5, with the contrast."""
    smallest: float
    """The height of the smallest letters of a chart, in pixels; 0 without a chart."""
    background: str
    """The page's colour."""
    frames: dict[str, list[str]]
    """The images that are shown, by what the first slider says; empty without a slider."""
    console: list[str]
    """What the browser's console says: errors and warnings."""


def load(page: str, width: int, folder: Path, *, dark: bool = False) -> Loaded:
    """Load an HTML page on a screen ``width`` pixels wide; ``folder`` is for what this needs."""
    assert BROWSER is not None
    frame = folder / "frame.html"
    frame.write_text(_FRAME.format(width=width, page=escape(page), look=_LOOK), encoding="utf-8")
    options = [*_OPTIONS, _DARK] if dark else _OPTIONS
    command = [BROWSER, *options, f"--user-data-dir={folder / 'profile'}", frame.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    match = re.search(r'<pre id="found">(.*?)</pre>', run.stdout, re.DOTALL)
    assert match is not None, run.stdout
    return Loaded(
        **json.loads(unescape(match[1])),
        console=[line for line in run.stderr.splitlines() if ":CONSOLE" in line],
    )
