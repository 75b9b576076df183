"""The pictures of a run, read: files in ``samples/``, each with what it shows as ``.json``.

============================  ==============================================================
step-000050.*                 some prompts, the same in every evaluation
step-000050-changed.*         the images that changed most
step-000050-SPLIT.*           all images of a split, in runs of earlier versions
base/                         the base model's images, to be compared with
============================  ==============================================================
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from marblecli.errors import BadInputError
from marblecli.pictures.legend import LegendCell, Picture
from marblecli.runs.atomic import remove
from marblecli.runs.schema import KEY, check_schema

_PICTURE = TypeAdapter(Picture)
_STEP = re.compile(r"step-(\d+)")


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Every picture that has a legend, by step; none if there is no such folder.

    Raises BadInputError, which names the legend, if one is broken or of a newer version.
    """
    return tuple(_read(path) for path in sorted(folder.glob("step-*.json")))


def _read(path: Path) -> Picture:
    try:
        legend = json.loads(path.read_text(encoding="utf-8"))
        check_schema(legend.get(KEY), path)
        if "kind" not in legend:
            return _earlier(legend, path)
        fields = {**legend, "path": path.with_name(legend["picture"])}
        return _PICTURE.validate_python(
            {name: fields[name] for name in ("step", "kind", "title", "cells", "path")}
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ValidationError) as error:
        raise BadInputError(f"{path}: isn't a whole legend of a picture ({error})") from error


def _earlier(legend: dict[str, Any], path: Path) -> Picture:
    """A grid of all images of a split, whose legend has a prompt for each image."""
    step, split = legend["step"], legend["split"]
    cells = tuple(LegendCell(each["prompt"], each["source"], split) for each in legend["prompts"])
    return Picture(step, "grid", f"Step {step}, {split} prompts", cells, path.with_suffix(".png"))


def forget_later(folder: Path, step: int) -> None:
    """Delete the pictures of steps after ``step``, which a resumed run will make again."""
    for path in folder.glob("step-*"):
        found = _STEP.match(path.name)
        if found and int(found.group(1)) > step:
            remove(path)
