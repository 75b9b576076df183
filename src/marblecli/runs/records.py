"""``conflicts.jsonl``: one line a measured batch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from marblecli.errors import BadInputError
from marblecli.runs.json_lines import read_lines
from marblecli.types import ConflictRecord, EvaluationRecord, Json

FILE_NAME = "conflicts.jsonl"


_RECORD = TypeAdapter(ConflictRecord)


def conflict_to_json(record: ConflictRecord) -> dict[str, Json]:
    """One line's object; its keys are a contract with users' scripts."""
    line: dict[str, Json] = _RECORD.dump_python(record, mode="json")
    return line


def evaluation_to_json(record: EvaluationRecord) -> dict[str, Json]:
    """One line's object: the means by split, then every image."""
    means: dict[str, Json] = {}
    for split, images in record.images.items():
        names = dict.fromkeys(name for image in images for name in image.scores)
        found = {name: [image.scores[name] for image in images] for name in names}
        scored = {name: [v for v in values if v is not None] for name, values in found.items()}
        means[split] = {name: sum(v) / len(v) for name, v in scored.items() if v}
    return {"step": record.step, **means}


def read_conflicts(run_dir: Path) -> tuple[ConflictRecord, ...]:
    """Every measured batch of a run, in order; a torn last line and unknown keys are left out.

    Raises BadInputError if the directory or its ``conflicts.jsonl`` is missing, empty or broken.
    """
    path = run_dir / FILE_NAME
    if not run_dir.is_dir():
        raise BadInputError(f"{run_dir} is no run directory: start one with `marble train RECIPE`")
    if not path.is_file():
        raise BadInputError(
            f"{run_dir} has no {FILE_NAME}: give the directory that `marble train` named at its end"
        )
    records = tuple(
        _to_record(line, f"{path}, line {number}")
        for number, line in enumerate(read_lines(path), start=1)
    )
    if not records:
        raise BadInputError(f"{path} holds no measured batch yet: try again after a training step")
    return records


def _to_record(line: dict[str, Any], place: str) -> ConflictRecord:
    try:
        record = _RECORD.validate_python(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{place}: {key}: {first['msg']}") from error
    count = len(record.rewards)
    for key, length in _lengths(conflict_to_json(record), ""):
        if length != count:
            raise BadInputError(f"{place}: {key}: {length} entries for {count} rewards")
    return record


def _lengths(value: Json, key: str) -> Iterator[tuple[str, int]]:
    """The dotted key and length of every list: all of them hold one entry a reward."""
    if isinstance(value, list):
        yield key, len(value)
        items = [(f"{key} row {place}", item) for place, item in enumerate(value, start=1)]
    elif isinstance(value, dict):
        items = [(f"{key}.{name}" if key else name, item) for name, item in value.items()]
    else:
        return
    for name, item in items:
        yield from _lengths(item, name)
