"""What ``marble sample`` draws, checked before a weight is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from marblecli.cli.target import Target, TargetOptions, find_target
from marblecli.errors import BadInputError, Problem, RecipeError
from marblecli.models.architectures import Architecture
from marblecli.models.limits import Limits
from marblecli.models.supported import examine_model
from marblecli.report.render import tell
from marblecli.runs.prompts import load_prompts
from marblecli.settings import Recipe

_SIZE = re.compile(r"(\d+)x(\d+)", re.I)
_SIDE = "sampling.resolution"


@dataclass(frozen=True)
class SampleRequest:
    """The command's options."""

    target: str
    texts: tuple[str, ...]
    prompt_file: Path | None
    seeds: tuple[int, ...]
    images: int
    steps: int | None
    size: str | None
    guidance: float
    negative: str
    with_base: bool
    options: TargetOptions


@dataclass(frozen=True)
class Job:
    """All images to draw: one of every prompt with every seed."""

    target: Target
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int
    width: int
    height: int
    guidance: float
    """1 for none."""
    negative: str
    with_base: bool
    weights: str

    @property
    def recipe(self) -> Recipe:
        """The target's, with a batch that takes the memory of the recipe's own batch."""
        sampling = self.target.recipe.sampling
        pixels = sampling.batch_size * sampling.resolution**2
        size = max(1, pixels // (self.width * self.height))
        changed = sampling.model_copy(update={"batch_size": size})
        return self.target.recipe.model_copy(update={"sampling": changed})


def prepare(request: SampleRequest) -> Job:
    """Check the options and find the target; no weight is loaded.

    A prompt that is certainly longer than the text encoders read is told on stderr.

    Raises BadInputError with all faults of the options, or with those of the target.
    """
    faults = list(_faults(request))
    if faults:
        raise BadInputError("\n".join(faults))
    prompts = _prompts(request)
    size = _parsed_size(request.size)
    target = _target(request, size)
    side = target.recipe.sampling.resolution
    width, height = size or (side, side)
    if limits := _limits(target.recipe):
        _check_sides(limits, width, height)
        _warn_of_long_prompts(limits, prompts)
    seeds = request.seeds or (0,)
    return Job(
        target=target,
        prompts=prompts,
        seeds=tuple(dict.fromkeys(seed + n for seed in seeds for n in range(request.images))),
        steps=request.steps or target.recipe.eval.steps,
        width=width,
        height=height,
        guidance=request.guidance,
        negative=request.negative,
        with_base=request.with_base,
        weights=request.options.weights,
    )


def _faults(request: SampleRequest) -> Iterator[str]:
    if not request.texts and request.prompt_file is None:
        yield 'nothing to draw: give prompts, as "a red square", or a file with --prompts'
    if any(not text.strip() for text in request.texts):
        yield "a prompt is empty; give one with text"
    if request.size is not None and not _parsed_size(request.size):
        yield f"--size: expected WIDTHxHEIGHT, such as 512x768, got {request.size!r}"
    if request.images > 1 and len(request.seeds) > 1:
        yield "--images counts up from one --seed; give either several seeds or --images"
    if request.negative and request.guidance == 1:
        yield "--negative has no effect without guidance; give --guidance above 1, such as 4.5"


def _parsed_size(text: str | None) -> tuple[int, int] | None:
    found = _SIZE.fullmatch(text or "")
    return (int(found.group(1)), int(found.group(2))) if found else None


def _prompts(request: SampleRequest) -> tuple[str, ...]:
    file = request.prompt_file
    listed = () if file is None else load_prompts(file, file.stem)
    texts = (*(text.strip() for text in request.texts), *(prompt.text for prompt in listed))
    return tuple(dict.fromkeys(texts))


def _target(request: SampleRequest, size: tuple[int, int] | None) -> Target:
    if size is None:
        return find_target(request.target, request.options)
    # The recipe's own size isn't sampled, so it mustn't be at fault.
    overrides = (*request.options.overrides, f"{_SIDE}={max(size)}")
    try:
        return find_target(request.target, replace(request.options, overrides=overrides))
    except RecipeError as error:
        problems = [
            Problem("--size" if problem.key == _SIDE else problem.key, problem.message)
            for problem in error.problems
        ]
        raise RecipeError(request.target, problems) from error


def _limits(recipe: Recipe) -> Limits | None:
    """What the model's configurations allow; None if they can't be read before the model loads."""
    examined = examine_model(recipe.model)
    if not isinstance(examined.architecture, Architecture):
        return None
    return examined.family.limits(examined.architecture, recipe.model)


def _check_sides(limits: Limits, width: int, height: int) -> None:
    sides = {"width": width, "height": height}
    found = ((name, limits.side_fault(side)) for name, side in sides.items())
    faults = [f"--size: the {name} {fault}" for name, fault in found if fault]
    if faults:
        raise BadInputError("\n".join(faults))


def _warn_of_long_prompts(limits: Limits, prompts: tuple[str, ...]) -> None:
    most = max(limits.tokens.values(), default=0)
    for prompt in prompts:
        # Every word is a token or more.
        words = len(prompt.split())
        if words > most:
            tell(
                f'the prompt "{prompt[:40]}..." has {words} words, and the text encoders read at '
                f"most {most} tokens: its end is cut off"
            )
