from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from marblecli.errors import BadInputError
from marblecli.runs.schema import SCHEMA, check_schema, stamped


def test_the_schema_comes_first() -> None:
    assert list(stamped({"step": 1}).items()) == [("schema", 1), ("step", 1)]


@pytest.mark.parametrize("found", [None, 1, SCHEMA])
def test_older_files_and_those_of_today_are_read(found: Any) -> None:
    check_schema(found, Path("run") / "metrics.jsonl")


@pytest.mark.parametrize("found", [0, -1, "1", True, 1.0, []])
def test_what_is_no_version_is_refused(found: Any) -> None:
    with pytest.raises(BadInputError, match="schema must be a whole number above 0, got"):
        check_schema(found, Path("run") / "metrics.jsonl")


@pytest.mark.parametrize("place", ["metrics.jsonl", "checkpoints/step-000001/state.json"])
def test_a_newer_file_is_refused_with_who_wrote_it_and_what_to_do(
    tmp_path: Path, place: str
) -> None:
    environment = {"schema": SCHEMA + 1, "packages": {"marblecli": "9.8.7"}}
    (tmp_path / "environment.json").write_text(json.dumps(environment))
    with pytest.raises(BadInputError) as caught:
        check_schema(SCHEMA + 1, tmp_path / place, ", line 3")
    text = str(caught.value)
    assert text.startswith(f"{tmp_path / place}, line 3: has schema {SCHEMA + 1}, written by ")
    assert "marble 9.8.7" in text
    assert text.endswith("pip install --upgrade marblecli")
    assert "\n" not in text


@pytest.mark.parametrize("environment", [None, "{", "[]", '{"packages": {}}'])
def test_who_wrote_it_may_be_unknown(tmp_path: Path, environment: str | None) -> None:
    if environment is not None:
        (tmp_path / "environment.json").write_text(environment)
    with pytest.raises(BadInputError, match="written by a newer version, and marble"):
        check_schema(SCHEMA + 1, tmp_path / "metrics.jsonl")
