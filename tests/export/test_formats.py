from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from marblecli.export.formats import FORMATS
from marblecli.export.subject import Subject
from support.toy_family import TOY


def test_names_and_files_are_told_apart(subject_of: Callable[..., Subject]) -> None:
    assert list(FORMATS) == ["diffusers", "comfyui", "kohya", "merged", "difference"]
    files = {one.file(subject_of()) for one in FORMATS.values()}
    assert len(files) == len(FORMATS)


def test_a_family_without_a_map_has_no_files_for_other_tools(
    subject_of: Callable[..., Subject],
) -> None:
    subject = replace(subject_of(), family=TOY)
    for name in ("comfyui", "kohya"):
        assert "aren't mapped" in (FORMATS[name].refusal(subject) or "")
    assert FORMATS["diffusers"].refusal(subject) is None
