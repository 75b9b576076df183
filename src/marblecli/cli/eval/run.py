"""Run ``marble eval``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from marblecli.cli.progress import showing_work
from marblecli.cli.setup import Plan, build_suite, evaluation_splits, load_plan
from marblecli.errors import BadInputError
from marblecli.models.quiet import quiet_libraries
from marblecli.progress import labelled
from marblecli.report.render import log, out
from marblecli.report.summary import changes_table
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.prompts import load_prompts
from marblecli.runs.run import Run
from marblecli.types import Json, Prompt, RewardChange


def run_evaluation(
    target: Path, prompt_file: Path | None, images_per_prompt: int | None, as_json: bool
) -> None:
    """Compare a run's newest checkpoint with its base model, on each split of its prompts."""
    quiet_libraries()
    run = Run.open(target)
    checkpoint = run.latest_checkpoint()
    overrides = [] if images_per_prompt is None else _image_counts(images_per_prompt)
    plan = load_plan(run.recipe_file, overrides)
    splits = _splits(plan, prompt_file)
    with showing_work():
        changes = _evaluate(plan, run, checkpoint, splits)
    if as_json:
        sizes = {split: len(prompts) for split, prompts in splits.items()}
        out.print_json(json.dumps(_document(target, checkpoint, sizes, changes), allow_nan=False))
        return
    for split, found in changes.items():
        out.print(changes_table(split, found))
    out.print(f"checkpoint: {checkpoint}", highlight=False, soft_wrap=True)


def _image_counts(count: int) -> list[str]:
    # The interval on training prompts needs at least two images of each.
    return [
        f"eval.images_per_prompt={count}",
        f"eval.images_per_train_prompt={max(count, 2)}",
    ]


def _splits(plan: Plan, prompt_file: Path | None) -> dict[str, tuple[Prompt, ...]]:
    if prompt_file is not None:
        return {prompt_file.name: load_prompts(prompt_file, prompt_file.stem)}
    found = evaluation_splits(plan)
    if not found:
        raise BadInputError("the run has no evaluation prompts; name a file with --prompts")
    return found


def _evaluate(
    plan: Plan, run: Run, checkpoint: Path, splits: Mapping[str, tuple[Prompt, ...]]
) -> dict[str, tuple[RewardChange, ...]]:
    from marblecli.train.evaluate import changes, evaluate
    from marblecli.train.sampler import PromptSets, open_sampler

    prompts = PromptSets(evaluation=splits)
    build = partial(build_suite, plan)
    sampler = open_sampler(plan.recipe, prompts, build, open_store=EmbeddingCache, old=False)
    sampler.policies.load_trained(run.load_average(checkpoint))
    found = {}
    with sampler.suite:
        for split in splits:
            with labelled(f"base on {split}"):
                base = evaluate(sampler, "reference", split)
            with labelled(f"trained on {split}"):
                trained = evaluate(sampler, "trained", split)
            for fault in dict.fromkeys((*base.faults(), *trained.faults())):
                log.print(f"fault in {split}: {fault}", style="yellow", markup=False)
            found[split] = changes(base, trained, plan.recipe.run.seed)
    return found


def _document(
    target: Path,
    checkpoint: Path,
    sizes: Mapping[str, int],
    changes: Mapping[str, tuple[RewardChange, ...]],
) -> dict[str, Json]:
    """The JSON document: all splits under ``splits``, and the last one also at the top level.

    The last split is ``held-out``, if there is one.
    """
    described = {
        split: {
            "prompts": sizes[split],
            "rewards": {c.reward: _reward(c) for c in found},
            "compare": {"base": {c.reward: _comparison(c) for c in found}},
        }
        for split, found in changes.items()
    }
    main = list(described)[-1]
    return {
        "target": str(target),
        "checkpoint": checkpoint.name,
        "split": main,
        **described[main],
        "splits": described,
    }


def _reward(change: RewardChange) -> dict[str, Json]:
    if change.failure:
        nothing = dict.fromkeys(("mean", "low", "high"))
        return {**nothing, "n": 0, "failure": change.failure}
    return {
        "mean": change.end,
        "low": change.end_low,
        "high": change.end_high,
        "n": change.images,
    }


def _comparison(change: RewardChange) -> dict[str, Json]:
    """The base model's mean, and the paired change from it with its interval."""
    if change.failure:
        return dict.fromkeys(("mean", "change", "low", "high"))
    return {
        "mean": change.start,
        "change": change.end - change.start,
        "low": change.low,
        "high": change.high,
    }
