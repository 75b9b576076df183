from __future__ import annotations

import math
import re

from marblecli.report.heat import heat
from support.svg import elements, texts


def test_every_cell_says_its_value_and_the_largest_is_the_darkest() -> None:
    svg = heat("Sizes", ["ocr", "colour"], ["text", "plain"], [[1.0, math.nan], [0.5, 0.25]])
    assert {"ocr", "colour", "text", "plain", "1.00", "0.50", "0.25", "-"} <= set(texts(svg))
    styles = [each.get("style") or "" for each in elements(svg, "path")]
    found = [re.search(r"opacity: ([\d.]+)", style) for style in styles if "--series-1" in style]
    assert max(float(each[1]) for each in found if each) == 0.5
