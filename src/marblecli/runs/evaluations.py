"""``evaluations.jsonl``: one line for each evaluation, with every image's scores.

A line is ``{"schema", "step", SPLIT: {REWARD: mean}, "subject", "seed", "seconds", "images":
{SPLIT: [...]}, "faults": {SPLIT: [...]}}``, an image ``{"prompt", "source", "place", "number",
"scores"}``. Lines from before images were kept have ``step`` and the means alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from marblecli.errors import BadInputError
from marblecli.runs.json_lines import read_lines
from marblecli.types import EvaluationRecord, Json

_RECORD = TypeAdapter(EvaluationRecord)
_FIELDS = ("step", "subject", "images", "faults", "seed", "seconds", "distances")


def evaluation_to_json(record: EvaluationRecord) -> dict[str, Json]:
    """One line's object; its keys are a contract with users' scripts."""
    fields = _RECORD.dump_python(record, mode="json")
    return {
        "step": record.step,
        **{split: dict(means) for split, means in record.means.items()},
        **{name: fields[name] for name in _FIELDS if name != "step"},
    }


def read_evaluations(path: Path) -> tuple[EvaluationRecord, ...]:
    """Every evaluation of the file, in order; none if there is no such file.

    Raises BadInputError, which names the line, if one is broken or of a newer version.
    """
    return tuple(
        _to_record(line, f"{path}, line {number}")
        for number, line in enumerate(read_lines(path), start=1)
    )


def _to_record(line: dict[str, Any], place: str) -> EvaluationRecord:
    fields = {name: line[name] for name in _FIELDS if name in line}
    if "images" not in fields:
        fields |= {"images": {}, "known_means": _splits(line)}
        # Step 0 was always the base model, and every later one the trained weights.
        fields["subject"] = "trained" if line["step"] else "base"
    try:
        return _RECORD.validate_python(fields)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise BadInputError(f"{place}: {key}: {first['msg']}") from error


def _splits(line: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value for key, value in line.items() if key not in _FIELDS and isinstance(value, dict)
    }
