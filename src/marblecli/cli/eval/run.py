"""Run ``marble eval``."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marblecli.cli.eval.scoring import Job, Splits, parts_left, score_parts
from marblecli.cli.eval.targets import Target, find_target
from marblecli.cli.setup import Plan, also_trained, evaluation_splits, load_plan
from marblecli.engine.processes import connect
from marblecli.errors import BadInputError, InterruptedRunError, did_you_mean
from marblecli.models.quiet import quiet_libraries
from marblecli.report.evaluation import (
    EvaluationResult,
    SplitResult,
    last_notes,
    result_document,
    result_table,
    split_notes,
)
from marblecli.report.render import out, tell
from marblecli.runs.evaluation_folder import EvaluationFolder
from marblecli.runs.prompts import load_prompts
from marblecli.runs.recipe import read_table
from marblecli.types import Json, Prompt, RewardChange

BASE = "base"
"""What ``--compare`` calls the base model."""


@dataclass(frozen=True)
class Request:
    """What the user asks for."""

    target: Path
    rewards: Sequence[str] = ()
    """Names of installed rewards; empty for the recipe's."""
    prompt_file: Path | None = None
    compare: str = BASE
    images_per_prompt: int | None = None
    overrides: Sequence[str] = ()
    output: Path | None = None


@dataclass(frozen=True)
class Prepared:
    """A checked request."""

    job: Job
    trained: frozenset[str]
    """The rewards that the target was trained on."""


def prepare(request: Request, *, quiet: bool = False) -> Prepared:
    """Check the request, and load what needs no weights. Raises BadInputError."""
    quiet_libraries()
    target = find_target(request.target)
    other = None if request.compare == BASE else find_target(Path(request.compare))
    given = _given_prompts(request)
    plan = load_plan(target.run.recipe_file, _overrides(request, target), quiet=quiet, more=given)
    trained = frozenset(plan.recipe.rewards)
    if request.rewards:
        plan = _only(plan, request.rewards)
    splits = {request.prompt_file.name: given} if request.prompt_file else _own_splits(plan)
    _check_rewards_apply(plan, request.rewards, splits)
    model = plan.recipe.model
    if other is not None:
        of_model = [text for text in request.overrides if text.startswith("model.")]
        model = load_plan(other.run.recipe_file, of_model, quiet=True).recipe.model
    return Prepared(Job(plan, splits, target, other, model), trained)


def run_evaluation(request: Request, prepared: Prepared, *, as_json: bool) -> None:
    """Score what isn't scored yet, write the result and print it."""
    job, processes = prepared.job, connect()
    folder = _open(request, job) if processes.first else None
    parts = processes.gather(parts_left(job, folder, processes.count) if folder else [])[0]
    try:
        score_parts(job, parts, folder, processes)
    except KeyboardInterrupt as error:
        raise InterruptedRunError(
            "interrupted; the same command goes on from the images that are scored"
        ) from error
    if folder is None:
        return
    result = _result(request, prepared, folder)
    document = result_document(result)
    folder.finish(document, job.target.step, list(job.splits))
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


def _overrides(request: Request, target: Target) -> list[str]:
    """The overrides of the target's recipe; rewards that it doesn't have are only evaluated."""
    found = []
    table = read_table(target.run.recipe_file)
    known = {*table.get("rewards", {}), *table.get("eval", {}).get("rewards", {})}
    found += [f"eval.rewards.{name}={{}}" for name in request.rewards if name not in known]
    if (count := request.images_per_prompt) is not None:
        # The interval on training prompts needs at least two images of each.
        found += [
            f"eval.images_per_prompt={count}",
            f"eval.images_per_train_prompt={max(count, 2)}",
        ]
    return [*found, *request.overrides]


def _given_prompts(request: Request) -> tuple[Prompt, ...]:
    file = request.prompt_file
    return () if file is None else load_prompts(file, file.stem)


def _only(plan: Plan, names: Sequence[str]) -> Plan:
    """The plan with these rewards alone."""
    recipe = plan.recipe
    if unknown := [name for name in names if name not in recipe.all_rewards]:
        hint = did_you_mean(unknown[0], recipe.all_rewards)
        raise BadInputError(f"--rewards: no reward {unknown[0]!r}{hint}")
    rewards = {name: entry for name, entry in recipe.rewards.items() if name in names}
    extra = {name: entry for name, entry in recipe.eval.rewards.items() if name in names}
    settings = recipe.eval.model_copy(update={"rewards": extra})
    return replace(plan, recipe=recipe.model_copy(update={"rewards": rewards, "eval": settings}))


def _own_splits(plan: Plan) -> Splits:
    found = evaluation_splits(plan)
    if not found:
        raise BadInputError("the run has no evaluation prompts; name a file with --prompts")
    return found


def _check_rewards_apply(plan: Plan, names: Sequence[str], splits: Splits) -> None:
    """Raise BadInputError if a reward that was named applies to no prompt."""
    everywhere = [prompt for prompts in splits.values() for prompt in prompts]
    for name in names:
        spec, entry = plan.catalog.get(name).spec, plan.recipe.all_rewards[name]
        if not any(spec.applies(prompt, entry.sources) for prompt in everywhere):
            needs = ", ".join(spec.metadata) or "(none)"
            raise BadInputError(
                f"--rewards {name}: applies to no prompt that is evaluated; it needs the metadata "
                f"{needs}; give prompts that have them with --prompts FILE.jsonl"
            )


def _open(request: Request, job: Job) -> EvaluationFolder:
    asked = _identity(request, job)
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]
    name = f"{job.target.checkpoint.name}-{digest}"
    folder = EvaluationFolder.at(
        request.output or job.target.run.directory / "evaluations" / name, asked
    )
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
        "target": str(request.target),
        "weights": job.target.identity(),
        "compare": request.compare,
        "compared_weights": job.other.identity() if job.other else None,
        "model": recipe.model.model_dump(mode="json"),
        "seed": recipe.run.seed,
        "resolution": recipe.sampling.resolution,
        "eval": settings,
        "rewards": rewards,
        "prompts": {split: _digest(prompts) for split, prompts in job.splits.items()},
    }


def _digest(prompts: Sequence[Prompt]) -> str:
    lines = [[prompt.text, prompt.source, dict(prompt.metadata)] for prompt in prompts]
    text = json.dumps(lines, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _result(request: Request, prepared: Prepared, folder: EvaluationFolder) -> EvaluationResult:
    job = prepared.job
    return EvaluationResult(
        target=str(request.target),
        checkpoint=job.target.checkpoint.name,
        other=request.compare,
        splits=[_split_result(job, folder, split) for split in job.splits],
        trained=prepared.trained,
        output=str(folder.directory),
    )


def _split_result(job: Job, folder: EvaluationFolder, split: str) -> SplitResult:
    from marblecli.maths.paired import ScoredSplit
    from marblecli.train.evaluate import split_changes

    seed, prompts = job.plan.recipe.run.seed, job.splits[split]
    before, after = (
        ScoredSplit(folder.scored(subject, split), folder.faults(subject, split))
        for subject in ("other", "target")
    )

    def of_source(source: str) -> tuple[int, tuple[RewardChange, ...]]:
        count = sum(prompt.source == source for prompt in prompts)
        return count, split_changes(split, before.only(source), after.only(source), seed)

    sources: Mapping[str, tuple[int, tuple[RewardChange, ...]]] = {
        source: of_source(source) for source in after.sources
    }
    both = () if split == "train" else also_trained(job.plan, prompts)
    changes = split_changes(split, before, after, seed)
    return SplitResult(split, len(prompts), changes, sources, both)
