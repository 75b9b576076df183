"""Run ``marble eval``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from marblecli.cli.eval.prepare import Prepared, Request
from marblecli.cli.eval.scoring import Job, parts_left, score_parts
from marblecli.cli.setup import also_trained
from marblecli.cli.target import Target
from marblecli.engine.processes import connect
from marblecli.errors import InterruptedRunError, StopRequestedError
from marblecli.report.evaluation import (
    EvaluationResult,
    SplitResult,
    last_notes,
    result_document,
    result_table,
    split_notes,
)
from marblecli.report.render import out, tell
from marblecli.runs.adapter_files import adapter_weights_file
from marblecli.runs.evaluation_folder import EvaluationFolder
from marblecli.types import Json, Prompt, RewardChange


def run_evaluation(request: Request, prepared: Prepared, *, as_json: bool) -> None:
    """Score what isn't scored yet, write the result and print it."""
    job, processes = prepared.job, connect()
    folder = _open(request, job) if processes.first else None
    parts = processes.gather(parts_left(job, folder, processes.count) if folder else [])[0]
    try:
        score_parts(job, parts, folder, processes)
    except (KeyboardInterrupt, StopRequestedError) as error:
        raise InterruptedRunError(
            "interrupted; the same command goes on from the images that are scored"
        ) from error
    if folder is None:
        return
    result = _result(request, prepared, folder)
    document = result_document(result)
    other = "the base model" if job.other is None else _name(job.other)
    folder.finish(document, _step(job.target), list(job.splits), other)
    if as_json:
        out.print_json(json.dumps(document, allow_nan=False))
    else:
        _show(result)


def _show(result: EvaluationResult) -> None:
    for found in result.splits:
        out.print(result_table(result, found))
        for each in found.changes:
            if each.failure:
                tell(f"fault: {each.reward}: {each.failure}")
        for note in split_notes(result, found):
            out.print(note, markup=False)
        out.print()
    for note in last_notes(result):
        out.print(note, markup=False, soft_wrap=True)


def _name(target: Target) -> str:
    """The checkpoint's name, or the last part of the target's place."""
    return Path(target.place).name if target.checkpoint is None else target.checkpoint.name


def _step(target: Target) -> int:
    return 0 if target.checkpoint is None else int(target.checkpoint.name.rpartition("-")[2])


def _home(target: Target) -> Path:
    """The run directory that the target belongs to, or else the working directory."""
    file = target.recipe_file
    in_run = file is not None and (file.parent / "checkpoints").is_dir()
    return file.parent if file is not None and in_run else Path()


def _open(request: Request, job: Job) -> EvaluationFolder:
    asked = _identity(request, job)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    place = _home(job.target) / "evaluations" / f"{_name(job.target)}-{digest}"
    folder = EvaluationFolder.at(request.output or place, asked)
    if scored := sum(len(part.images) for part in folder.parts):
        tell(f"going on: {scored} images are scored already, in {folder.directory}")
    return folder


def _identity(request: Request, job: Job) -> dict[str, Json]:
    """Everything that the scores depend on, in JSON."""
    recipe = job.plan.recipe
    rewards = {
        name: {
            **entry.model_dump(mode="json", include={"sources", "options"}),
            "version": job.plan.catalog.get(name).version,
        }
        for name, entry in recipe.all_rewards.items()
    }
    settings = recipe.eval.model_dump(
        mode="json", include={"steps", "images_per_prompt", "images_per_train_prompt"}
    )
    return {
        "target": _weights(job.target),
        "other": None if job.other is None else _weights(job.other),
        "weights": request.weights,
        "seed": recipe.run.seed,
        "resolution": recipe.sampling.resolution,
        "eval": settings,
        "rewards": rewards,
        "prompts": {split: _digest(prompts) for split, prompts in job.splits.items()},
    }


def _weights(target: Target) -> Json:
    """What is the same only as long as the target's weights are."""
    file = target.checkpoint and target.checkpoint / "ema.safetensors"
    file = file or adapter_weights_file(Path(target.place).expanduser())
    known = {} if file is None else {"bytes": file.stat().st_size, "ns": file.stat().st_mtime_ns}
    place = Path(target.place).absolute() if target.kind != "model" else target.place
    return {"place": str(place), **known, "model": target.recipe.model.model_dump(mode="json")}


def _digest(prompts: Sequence[Prompt]) -> str:
    lines = [[prompt.text, prompt.source, dict(prompt.metadata)] for prompt in prompts]
    text = json.dumps(lines, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _result(request: Request, prepared: Prepared, folder: EvaluationFolder) -> EvaluationResult:
    job = prepared.job
    return EvaluationResult(
        target=job.target.place,
        checkpoint=_name(job.target),
        other=request.compare,
        splits=[_split_result(job, folder, split) for split in job.splits],
        trained=prepared.trained,
        output=str(folder.directory),
    )


def _split_result(job: Job, folder: EvaluationFolder, split: str) -> SplitResult:
    from marblecli.maths.paired import ScoredSplit, split_changes

    seed, prompts = job.plan.recipe.run.seed, job.splits[split]
    before, after = (
        ScoredSplit(folder.scored(subject, split), folder.faults(subject, split))
        for subject in ("other", "target")
    )

    def of_source(source: str) -> tuple[int, tuple[RewardChange, ...]]:
        count = sum(prompt.source == source for prompt in prompts)
        return count, split_changes(split, before.only(source), after.only(source), seed)

    sources = {source: of_source(source) for source in after.sources}
    trains = split != "train" and job.target.kind != "model"
    both = also_trained(job.plan, prompts) if trains else ()
    changes = split_changes(split, before, after, seed)
    return SplitResult(split, len(prompts), changes, sources, both)
