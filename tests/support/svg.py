"""An SVG, read."""

from __future__ import annotations

from xml.etree import ElementTree as ET

NAMESPACE = "{http://www.w3.org/2000/svg}"


def elements(svg: str, kind: str) -> list[ET.Element]:
    """The elements of a kind; parsing shows that the SVG is well formed."""
    root = ET.fromstring(svg)  # noqa: S314 - the test has made it itself
    return [each for each in root.iter() if each.tag == NAMESPACE + kind]


def texts(svg: str) -> list[str]:
    return [each.text or "" for each in elements(svg, "text")]
