"""``conflicts.jsonl``: one line a measured batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from marblecli.errors import BadInputError
from marblecli.runs.json_lines import read_lines
from marblecli.types import ConflictRecord, Json

FILE_NAME = "conflicts.jsonl"


def conflict_to_json(record: ConflictRecord) -> dict[str, Json]:
    """One line's object; its keys are a contract with users' scripts."""
    return {
        "step": record.step,
        "rewards": list(record.rewards),
        "valid": list(record.valid),
        "norms": list(record.norms),
        "gram": [list(row) for row in record.gram],
        "simplex_weights": list(record.simplex_weights),
        "coefficients": list(record.coefficients),
        "cosines": {name: list(cosines) for name, cosines in record.cosines.items()},
    }


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


_RECORD = TypeAdapter(ConflictRecord)


def _to_record(line: dict[str, Any], place: str) -> ConflictRecord:
    try:
        record = _RECORD.validate_python(line)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{place}: {key}: {first['msg']}") from error
    count = len(record.rewards)
    parts = {
        "valid": record.valid,
        "norms": record.norms,
        "gram": record.gram,
        "simplex_weights": record.simplex_weights,
        "coefficients": record.coefficients,
        **{f"gram row {number}": row for number, row in enumerate(record.gram, start=1)},
        **{f"cosines.{name}": cosines for name, cosines in record.cosines.items()},
    }
    for key, values in parts.items():
        if len(values) != count:
            raise BadInputError(f"{place}: {key}: {len(values)} entries for {count} rewards")
    return record
