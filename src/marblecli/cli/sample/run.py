"""Run ``marble sample``, once its options have been checked."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image
from rich.progress import Progress

from marblecli.cli.sample.prepare import Job
from marblecli.cli.target import no_rewards, open_target
from marblecli.models.quiet import quiet_libraries
from marblecli.pictures.drawing import draw
from marblecli.pictures.sheet import Cell, Section, Sheet, Tile
from marblecli.pictures.terminal import check_terminal, show_image
from marblecli.pictures.tiles import reduced, to_image
from marblecli.report.render import log, out
from marblecli.runs.sampled import SampledFolder

if TYPE_CHECKING:
    from marblecli.models.policies import PolicyName
    from marblecli.train.sampler import Sampler


@dataclass(frozen=True)
class _Wanted:
    """One image to draw."""

    prompt: str
    seed: int
    base: bool


def run_sampling(job: Job, output: Path | None, *, grid: bool, show: bool) -> None:
    """Draw all images, write each as soon as there is one, and say where they are."""
    quiet_libraries()
    if show:
        check_terminal()
    folder = SampledFolder.make(output or _new_folder(job))
    tiles: dict[_Wanted, Image.Image] = {}
    with log.status("loading the model"):
        sampler = _opened(job)
    total = len(job.prompts) * len(job.seeds) * (1 + job.with_base)
    with sampler.suite, Progress(console=log, transient=True) as progress:
        task = progress.add_task("sampling", total=total)
        for wanted, image in _images(sampler, job):
            name = folder.add(_name(job, wanted), image, _parameters(job, wanted))
            progress.advance(task)
            progress.console.print(str(name), highlight=False, soft_wrap=True, markup=False)
            tiles[wanted] = reduced(image)
    if grid or show:
        picture = draw(_sheet(job, tiles)).image
    if grid:
        folder.save_grid(picture, (job.width, job.height))
    if show:
        show_image(picture, out)
    out.print(f"{total} images: {folder.path}", highlight=False, soft_wrap=True)


def _new_folder(job: Job) -> Path:
    name = Path(job.target.place).absolute().name
    return Path("sampled") / f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"


def _opened(job: Job) -> Sampler:
    from marblecli.train.sampler import PromptSets

    texts = {*job.prompts, *({job.negative} if job.guidance > 1 else ())}
    return open_target(job.target, PromptSets(), no_rewards, recipe=job.recipe, texts=texts)


def _images(sampler: Sampler, job: Job) -> Iterator[tuple[_Wanted, Image.Image]]:
    """Every image, those of a policy one after the other.

    The noise of an image is drawn on the CPU from its seed and its prompt alone.
    """
    import torch

    from marblecli.seeding import torch_stream
    from marblecli.train.rollout import Guidance, Sampling, sampled_batches

    shape = sampler.backbone.frozen.latent_shape(job.height, job.width)
    pairs = list(itertools.product(job.prompts, job.seeds))
    texts = [prompt for prompt, _ in pairs]
    noise = torch.stack(
        [
            torch.randn(shape, generator=torch_stream(seed, f"sample {prompt}"))
            for prompt, seed in pairs
        ]
    )
    guidance = Guidance(job.guidance, job.negative) if job.guidance > 1 else None
    policies: tuple[PolicyName, ...] = ("reference", "trained") if job.with_base else ("trained",)
    for policy in policies:
        sampling = Sampling(policy, job.steps, guidance)
        for rows, _, images in sampled_batches(sampler, sampling, texts, noise):
            for (prompt, seed), image in zip(pairs[rows], images, strict=True):
                yield _Wanted(prompt, seed, policy == "reference"), to_image(image)


def _name(job: Job, wanted: _Wanted) -> tuple[str, ...]:
    """The parts of a file's name: the prompt's number and text, the seed, and ``base``."""
    number = f"{job.prompts.index(wanted.prompt) + 1:03d}"
    return (number, wanted.prompt, f"seed{wanted.seed}", *(("base",) if wanted.base else ()))


def _parameters(job: Job, wanted: _Wanted) -> dict[str, str]:
    """What the PNG says of itself."""
    checkpoint = job.target.checkpoint
    known = {
        "Software": f"marble {version('marblecli')}",
        "prompt": wanted.prompt,
        "negative_prompt": job.negative,
        "seed": str(wanted.seed),
        "steps": str(job.steps),
        "guidance": f"{job.guidance:g}",
        "size": f"{job.width}x{job.height}",
        "target": job.target.place,
        "base_model": job.target.recipe.model.pretrained,
        "weights": "base" if wanted.base else job.weights,
    }
    return known if checkpoint is None else {**known, "checkpoint": checkpoint.name}


def _sheet(job: Job, tiles: dict[_Wanted, Image.Image]) -> Sheet:
    def cell(prompt: str, seed: int) -> Cell:
        names = (("base, ", True), ("trained, " if job.with_base else "", False))
        found = (
            (f"{name}seed {seed}", tiles.get(_Wanted(prompt, seed, base))) for name, base in names
        )
        return Cell(tuple(Tile(label, image) for label, image in found if image), prompt)

    guided = f"guidance {job.guidance:g}" if job.guidance > 1 else "without guidance"
    negative = f', negative prompt "{job.negative}"' if job.negative else ""
    checkpoint = job.target.checkpoint
    title = job.target.place if checkpoint is None else f"{job.target.place}, {checkpoint.name}"
    cells = tuple(cell(prompt, seed) for prompt in job.prompts for seed in job.seeds)
    explanation = f"{job.width} x {job.height} pixels, {job.steps} steps, {guided}{negative}"
    return Sheet(title, explanation, (Section("", cells),))
