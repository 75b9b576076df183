"""Write an export's model card, with pictures of the run beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from marblecli.cli.export.results import changes_at
from marblecli.runs import schema
from marblecli.runs.exports import copy_pictures, write_card
from marblecli.runs.recipe import read_table
from marblecli.runs.run import Run

if TYPE_CHECKING:
    from marblecli.cli.export.run import ExportRequest
    from marblecli.export.subject import Subject


def add_card(
    subject: Subject, run: Run, checkpoint: Path, folder: Path, request: ExportRequest
) -> Path:
    """Write ``README.md`` into the export's folder, about all formats that are there."""
    from marblecli.export.card import CardFacts, model_card
    from marblecli.export.formats import FORMATS

    step = int(checkpoint.name.rpartition("-")[2])
    averaged = request.weights == "average"
    table = read_table(run.recipe_file)
    files = {name: form.file(subject) for name, form in FORMATS.items()}
    facts = CardFacts(
        weights=request.weights,
        step=step,
        recipe=_shown(table),
        rewards=list(table.get("rewards", {})),
        evaluation_steps=table["eval"]["steps"],
        resolution=table["sampling"]["resolution"],
        files={name: file for name, file in files.items() if (folder / file).exists()},
        changes=changes_at(run.evaluations(), step) if averaged else {},
        pictures=copy_pictures(run.samples_folder, step, folder) if averaged else (),
        repository=request.push,
    )
    return write_card(folder, model_card(subject, facts))


def _shown(table: Mapping[str, Any]) -> str:
    """The recipe as TOML without its schema, and without the folders of this machine."""
    return tomli_w.dumps({k: _anonymous(v) for k, v in table.items() if k != schema.KEY})


def _anonymous(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _anonymous(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_anonymous(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value
