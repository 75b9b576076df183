"""Figures of matplotlib as SVG in the page: scalable, without script, in the page's own colours.

Each figure is as wide as a phone's screen, so that its letters are never scaled below their size.
Text stays text, which a page's font draws and a reader's search finds. Colours are those of the
page's style sheet, by name: the SVG has ``var(--ink)`` where matplotlib was given :data:`INK`, so
that a dark page has dark charts. matplotlib is imported when the first figure is drawn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from html import escape
from io import StringIO
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.typing import RcKeyType

WIDTH = 343
"""CSS pixels: a phone's screen of 375 without the page's margins."""
_DPI = 96

INK, QUIET, GRID = "#000001", "#000002", "#000003"
"""Letters and lines; what stands back; and the thin lines behind the data."""
POSITIVE, NEGATIVE = "#000004", "#000005"
"""Agreement and conflict."""
SERIES = ("#000011", "#000012", "#000013", "#000014", "#000015", "#000016", "#000017", "#000018")
"""The colours of several lines of one chart."""
DASHES = ("-", (0, (5, 2)), (0, (1, 1.5)), (0, (7, 2, 1, 2)))
"""The patterns of several lines, so that they can be told apart without colour."""
MARKERS = "osD^vPX*"
"""And the shapes of their points."""

_VARIABLES = {
    INK: "--ink",
    QUIET: "--quiet",
    GRID: "--line",
    POSITIVE: "--positive",
    NEGATIVE: "--negative",
    **{colour: f"--series-{place}" for place, colour in enumerate(SERIES, start=1)},
}
_SETTINGS: Mapping[RcKeyType, Any] = {
    "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET,
    "axes.linewidth": 0.75,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.family": "sans-serif",
    "font.size": 9.0,
    "grid.color": GRID,
    "grid.linewidth": 0.5,
    "hatch.linewidth": 0.8,
    "path.simplify_threshold": 0.5,
    "svg.fonttype": "none",
    "svg.image_inline": True,
    # Names are shown as they are, whatever dollar signs they hold.
    "text.parse_math": False,
    "text.color": INK,
    "xtick.color": GRID,
    "xtick.labelcolor": QUIET,
    "ytick.color": GRID,
    "ytick.labelcolor": QUIET,
}

_WHOLE = re.compile(r"<svg\b.*</svg>", re.DOTALL)
_NEEDLESS = re.compile(
    r"\s*<metadata>.*?</metadata>|\s*<defs>\s*<style[^>]*>.*?</style>\s*</defs>", re.DOTALL
)
"""Facts about the file, and a style that would apply to the whole page; the page has its own."""
_TAG = re.compile(r"<[^>]*>")
"""Whatever is between two tags is text, which stays as it is."""
_VIEW = re.compile(r'viewBox="([^"]*)"')
_ID = re.compile(r'\sid="([^"]*)"')
_REFERENCE = re.compile(r"#([\w-]+)[\")]")
_LONG_NUMBER = re.compile(r"\d+\.\d{3,}")
_COLOUR = re.compile("|".join(_VARIABLES))


def draw(height: float, title: str, description: str, fill: Callable[[Figure], None]) -> str:
    """A figure of :data:`WIDTH` by ``height`` CSS pixels as an ``<svg>`` element.

    ``fill`` draws on the empty figure. Screen readers read the title and the description.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    settings: dict[RcKeyType, Any] = {**_SETTINGS, "svg.hashsalt": title}
    with rc_context(settings):
        figure = Figure(figsize=(WIDTH / _DPI, height / _DPI), dpi=_DPI)
        figure.patch.set_visible(False)
        fill(figure)
        for axes in figure.axes:
            axes.patch.set_visible(False)
        buffer = StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return _cleaned(buffer.getvalue(), title, description)


def _cleaned(text: str, title: str, description: str) -> str:
    whole = _WHOLE.search(text)
    if whole is None:
        raise ValueError("matplotlib drew no SVG")
    svg = _NEEDLESS.sub("", whole[0])
    used = set(_REFERENCE.findall(svg))

    def tidy(tag: re.Match[str]) -> str:
        # Figures of a page must not share an id; those that nothing refers to aren't needed.
        found = _ID.sub(lambda name: name[0] if name[1] in used else "", tag[0])
        found = _LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", found)
        return _COLOUR.sub(lambda colour: f"var({_VARIABLES[colour[0]]})", found)

    opening, *_ = _TAG.findall(svg)
    view = _VIEW.search(opening)
    if view is None:
        raise ValueError("matplotlib's SVG has no size")
    label = escape(f"{title}. {description}".strip())
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{view[1]}" role="img" aria-label="{label}"><title>{escape(title)}</title>'
        + _TAG.sub(tidy, svg[len(opening) :])
    )
