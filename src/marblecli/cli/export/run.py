"""Run ``marble export``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from marblecli.cli.export.card import add_card
from marblecli.cli.export.push import check_repository, push_folder
from marblecli.cli.target import Target, TargetOptions, Weights, find_target
from marblecli.errors import BadInputError, MarbleError, did_you_mean, one_of
from marblecli.models.architectures import Architecture
from marblecli.models.quiet import quiet_libraries
from marblecli.models.supported import examine_model
from marblecli.report.render import log, out
from marblecli.runs.exports import ExportWriter, exported
from marblecli.runs.run import Run

if TYPE_CHECKING:
    from marblecli.export.subject import Subject

_USUAL = ("diffusers", "comfyui")
"""What is exported where no format is named, as far as the run can be."""
_AVERAGE: Weights = "average"


@dataclass(frozen=True)
class ExportRequest:
    """The command's options."""

    run: Path
    formats: str | None = None
    weights: Weights = _AVERAGE
    step: int | None = None
    output: Path | None = None
    dtype: Literal["fp32", "bf16"] = "fp32"
    push: str | None = None


@dataclass(frozen=True)
class Exported:
    """One file or folder that was written and passed its check."""

    format: str
    path: Path
    difference: float
    """The largest difference that the load check found, as a share."""


@dataclass(frozen=True)
class Export:
    """All that an export wrote."""

    files: tuple[Exported, ...]
    card: Path
    """The model card, in the export's folder."""


def run_export(request: ExportRequest) -> None:
    """Write the formats, and say where each of them is."""
    quiet_libraries()
    if request.push is not None:
        check_repository(request.push)
    with log.status("exporting"):
        found = export_run(request)
    for one in found.files:
        checked = f"loaded back: differs by at most {one.difference:.1g}"
        out.print(f"{one.format}: {one.path} ({checked})", highlight=False, soft_wrap=True)
    out.print(f"model card: {found.card}", highlight=False, soft_wrap=True)
    if request.push is not None:
        with log.status("uploading"):
            address = push_folder(found.card.parent, request.push)
        out.print(f"uploaded: {address}", highlight=False, soft_wrap=True)


def export_finished(run_dir: Path) -> None:
    """The export at the end of a run. What fails is one line, and the run has ended well."""
    try:
        found = export_run(ExportRequest(run_dir))
    except (MarbleError, OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        log.print(
            f"export failed: {reason}; try again with: marble export {run_dir}",
            style="yellow",
            markup=False,
            soft_wrap=True,
        )
        return
    for one in found.files:
        out.print(f"{one.format}: {one.path}", highlight=False, soft_wrap=True)


def export_run(request: ExportRequest) -> Export:
    """Write what is asked for into the output folder, each file complete and checked, or absent.

    Raises:
        BadInputError: a format is unknown or can't hold what the run trained, or there is no such
            run or checkpoint.
        MarbleError: a load check failed, or a file can't be read or written.

    """
    options = TargetOptions(weights=request.weights, step=request.step)
    target = find_target(str(request.run), options)
    if target.checkpoint is None:
        raise BadInputError(f"{request.run} is no run directory and no checkpoint of one")
    subject = _subject(target, request)
    names = _formats(subject, request.formats)
    folder = request.output or _folder(target, target.checkpoint, request)
    subject = replace(subject, weights=target.load())
    files = tuple(_export(subject, name, folder) for name in names)
    run = Run(target.checkpoint.absolute().parent.parent)
    return Export(files, add_card(subject, run, target.checkpoint, folder, request))


def _export(subject: Subject, name: str, folder: Path) -> Exported:
    from marblecli.export.formats import FORMATS

    form = FORMATS[name]
    path = folder / form.file(subject)
    with exported(path) as draft:
        form.write(subject, draft, ExportWriter())
        difference = form.check(subject, draft)
    return Exported(name, path, difference)


def _subject(target: Target, request: ExportRequest) -> Subject:
    """What is exported, without its weights."""
    from marblecli.export.subject import Subject
    from marblecli.models.dtypes import DTYPES

    recipe = target.recipe
    examined = examine_model(recipe.model)
    if not isinstance(examined.architecture, Architecture):
        raise examined.architecture
    # Neither is needed to write what was trained, and both need several processes or a GPU.
    model = recipe.model.model_copy(update={"shard": False, "offload": False})
    return Subject(
        recipe.run.name,
        model,
        recipe.run.seed,
        examined.family,
        examined.architecture,
        {},
        DTYPES[request.dtype],
    )


def _formats(subject: Subject, asked: str | None) -> Sequence[str]:
    """The formats to write; all that are wrong with those that were asked for are reported."""
    from marblecli.export.formats import FORMATS

    if asked is None:
        return [name for name in _USUAL if FORMATS[name].refusal(subject) is None]
    names = list(dict.fromkeys(name.strip() for name in asked.split(",")))
    faults = []
    for name in names:
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS) or f"; choose from {one_of(FORMATS)}"
            faults.append(f"--format: no format {name!r}{hint}")
        elif reason := FORMATS[name].refusal(subject):
            faults.append(f"--format {name}: {reason}")
    if faults:
        raise BadInputError("\n".join(faults))
    return names


def _folder(target: Target, checkpoint: Path, request: ExportRequest) -> Path:
    """``RUN/export``; what isn't the newest average has a folder of its own in it."""
    folder = Run(checkpoint.absolute().parent.parent).export_folder
    if target.kind == "run":
        folder = Run(request.run).export_folder
    if target.kind == "checkpoint" or request.step is not None:
        folder /= checkpoint.name
    return folder if request.weights == _AVERAGE else folder / request.weights
