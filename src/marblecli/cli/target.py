"""What ``eval``, ``sample`` and ``export`` are given: a run, a checkpoint, an adapter or a model.

Usage::

    target = find_target(text, TargetOptions(base=..., recipe=..., overrides=[...]))
    sampler = open_target(target, PromptSets(evaluation={"mine": prompts}), build_suite)
    with sampler.suite: ...

``sampler.policies`` has the target's weights as its *trained* policy, at the strength that they
were trained with, and the base model as its *reference*. There is no old policy. Where nothing is
scored, ``build_suite=no_rewards``.

=============  =====================================================================================
TARGET         what it is, and where its base model and settings come from
=============  =====================================================================================
run            a directory with ``recipe.toml``: the newest checkpoint, or that of ``step``
checkpoint     ``RUN/checkpoints/step-000100``, or one of its files (``ema.safetensors``); the run's
               recipe
adapter        a safetensors file or its folder: diffusers, PEFT, ComfyUI or kohya keys. The base is
               that of the option ``recipe`` or ``base``, or else of the run that the file is in
               (``RUN/export/...``), or else what the adapter's metadata name
model          a folder in diffusers' layout, or a hub id; settings are those of ``recipe``, of the
               run that it is in (``RUN/export/merged``), or the defaults. Trained and reference
               policy are the same
=============  =====================================================================================

``weights`` is ``average`` (the moving average, which evaluations are of) or ``trained``.
``target.recipe`` has no prompts, rewards or balance, so that nothing but the model must be there.
A command that needs them loads ``target.recipe_file`` by
:func:`marblecli.cli.setup.load_plan`, and gives ``open_target`` its recipe: the target's own
``[model]`` is put in.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from marblecli.errors import BadInputError
from marblecli.models.architectures import UnreadableConfigError
from marblecli.models.check import model_problems
from marblecli.models.configurations import INDEX
from marblecli.models.options import resolved
from marblecli.models.supported import examine_model
from marblecli.runs.adapter_files import BASE_KEYS, adapter_weights_file, read_adapter_file
from marblecli.runs.checkpoints import STATE
from marblecli.runs.embedding_cache import EmbeddingCache
from marblecli.runs.model_recipe import model_recipe, read_model_recipe
from marblecli.runs.run import AVERAGE, RECIPE, Run
from marblecli.settings import LoraSettings, Recipe
from marblecli.types import AdapterFile

if TYPE_CHECKING:
    from torch import Tensor

    from marblecli.models.adapter_weights import AdapterWeights
    from marblecli.rewards.score import RewardSuite
    from marblecli.train.sampler import PromptSets, Sampler

Kind = Literal["run", "checkpoint", "adapter", "model"]
Weights = Literal["average", "trained"]

_STEMS: Mapping[Weights, str] = {"average": AVERAGE, "trained": "trained"}
"""A checkpoint's files by what they hold."""
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class TargetOptions:
    """What a command may say of a target."""

    base: str | None = None
    """The base model of an adapter: a hub id or a folder."""
    recipe: Path | None = None
    """A recipe, or a run directory, whose model and settings an adapter or a model runs with."""
    weights: Weights = "average"
    step: int | None = None
    """A run's checkpoint; the newest where absent."""
    overrides: Sequence[str] = ()
    """``key=value`` of recipe fields, such as ``model.dtype=fp32``."""


@dataclass(frozen=True)
class Target:
    """A thing to evaluate, sample or export, whose weights haven't been read yet."""

    kind: Kind
    place: str
    """As the user gave it."""
    recipe: Recipe
    """The model and settings that it runs with, without prompts, rewards and balance."""
    recipe_file: Path | None
    """Where the whole recipe is, if there is one."""
    load: Callable[[], Mapping[str, Tensor]]
    """Reads the trained policy's weights by name; none for a model, which is its own base."""
    checkpoint: Path | None = None
    """The checkpoint's folder, of a run or a checkpoint."""


def find_target(text: str, options: TargetOptions | None = None) -> Target:
    """What ``text`` is: a path, or a model's hub id. The base's weights aren't loaded.

    Raises:
        BadInputError: it is none of these, can't be read, or doesn't fit its base model.
        RecipeError: the recipe's model or settings can't be used.

    """
    options = options or TargetOptions()
    path = Path(text).expanduser()
    if (path / RECIPE).is_file():
        run = Run.open(path)
        return _checkpoint(
            "run", text, run.checkpoint(options.step), _STEMS[options.weights], options
        )
    if (path / STATE).is_file():
        return _checkpoint("checkpoint", text, path, _STEMS[options.weights], options)
    if path.is_file() and (path.parent / STATE).is_file():
        return _checkpoint("checkpoint", text, path.parent, path.stem, options)
    if adapter_weights_file(path) is not None:
        return _adapter(text, path, options)
    if (path / INDEX).is_file() or (_HUB_ID.fullmatch(text) and not path.exists()):
        return _model(text, options)
    raise BadInputError(
        f"{text}: no run directory, no checkpoint, no adapter (.safetensors, or a folder of PEFT "
        "or diffusers), no model folder, and no hub id (OWNER/NAME)"
    )


def open_target(
    target: Target,
    prompts: PromptSets,
    build_suite: Callable[[str], RewardSuite],
    *,
    recipe: Recipe | None = None,
    texts: Iterable[str] | None = None,
) -> Sampler:
    """Load the base model, and give its trained policy the target's weights.

    ``recipe`` is the run's whole one with rewards and settings of the caller; its ``[model]`` is
    replaced by the target's. ``texts`` are the texts to embed, by default those of ``prompts``.
    It raises what :func:`marblecli.train.sampler.open_sampler` raises, and BadInputError if the
    weights can't be read.
    """
    from marblecli.train.sampler import open_sampler

    whole = (recipe or target.recipe).model_copy(update={"model": target.recipe.model})
    sampler = open_sampler(
        whole, prompts, build_suite, texts=texts, open_store=EmbeddingCache, old=False
    )
    if weights := target.load():
        sampler.policies.load_trained(weights)
    return sampler


def no_rewards(device: str) -> RewardSuite:  # noqa: ARG001, for open_sampler
    """A suite without rewards, for commands that score nothing."""
    from marblecli.rewards.score import RewardSuite

    return RewardSuite([])


def _checkpoint(kind: Kind, text: str, folder: Path, stem: str, options: TargetOptions) -> Target:
    run = Run(folder.absolute().parent.parent)
    if not run.recipe_file.is_file():
        raise BadInputError(f"{text}: a checkpoint outside of its run: no {run.recipe_file}")
    recipe = _resolved(read_model_recipe(run.recipe_file, options.overrides, model_problems))
    return Target(
        kind, text, recipe, run.recipe_file, lambda: run.load_weights(folder, stem), folder
    )


def _adapter(text: str, path: Path, options: TargetOptions) -> Target:
    file = read_adapter_file(path)
    own_run = _run_around(path)
    chosen = options.recipe is not None or options.base is not None
    recipe_file = _recipe_file(options.recipe) if chosen or own_run is None else own_run.recipe_file
    if recipe_file is not None:
        recipe = read_model_recipe(recipe_file, _overrides(options), model_problems)
    else:
        recipe = _base_recipe(file, options)
    recipe = _resolved(recipe)
    adapter = read_for(recipe, file)
    model = _without_modes(recipe, adapter.settings())
    return Target("adapter", text, model, recipe_file, adapter.tensors)


def read_for(recipe: Recipe, file: AdapterFile) -> AdapterWeights:
    """The adapter of a file, for the recipe's model.

    Raises BadInputError if it doesn't fit, or if the model's configurations can't be read.
    """
    from marblecli.models.adapter_reading import read_adapter

    examined = examine_model(recipe.model)
    if isinstance(examined.architecture, UnreadableConfigError):
        raise examined.architecture
    return read_adapter(file, examined.family, examined.architecture)


def _model(text: str, options: TargetOptions) -> Target:
    if options.base is not None:
        raise BadInputError(f"--base is for adapters: {text} is a whole model")
    recipe_file, own_run = _recipe_file(options.recipe), _run_around(Path(text))
    if recipe_file is None and own_run is not None:
        recipe_file = own_run.recipe_file
    if recipe_file is None:
        recipe = model_recipe(text, options.overrides, model_problems)
    else:
        pretrained = str(Path(text).absolute()) if Path(text).exists() else text
        overrides = [f"model.pretrained={pretrained}", *options.overrides]
        recipe = read_model_recipe(recipe_file, overrides, model_problems)
    # Its adapters start as nothing: the trained policy is the model.
    model = _without_modes(_resolved(recipe), LoraSettings())
    return Target("model", text, model, recipe_file, dict)


def _overrides(options: TargetOptions) -> list[str]:
    """The base first: what is set explicitly goes before it."""
    if options.base is None:
        return list(options.overrides)
    path = Path(options.base).expanduser()
    base = str(path.absolute()) if path.exists() else options.base
    return [f"model.pretrained={base}", *options.overrides]


def _base_recipe(file: AdapterFile, options: TargetOptions) -> Recipe:
    """The recipe of the base that an adapter names, or that the options name."""
    named, revision = (file.settings.get(key) for key in BASE_KEYS)
    base = options.base or named
    if not isinstance(base, str) or not base:
        raise BadInputError(
            f"{file.place} doesn't say which model it is for: name it with --base, or give its "
            "recipe or run with --recipe"
        )
    of_revision = isinstance(revision, str) and options.base is None
    first = [f"model.revision={revision}"] if of_revision else []
    return model_recipe(base, [*first, *options.overrides], model_problems)


def _recipe_file(path: Path | None) -> Path | None:
    """The recipe that the option names: itself, or that of a run directory."""
    if path is None:
        return None
    return Run.open(path).recipe_file if path.is_dir() else path


def _run_around(path: Path) -> Run | None:
    """The run whose ``export`` folder this is, or is around it."""
    here = path.absolute()
    for folder in (here, *here.parents):
        if folder.name == "export" and (folder.parent / RECIPE).is_file():
            return Run(folder.parent)
    return None


def _resolved(recipe: Recipe) -> Recipe:
    examined = examine_model(recipe.model)
    return recipe.model_copy(update={"model": resolved(examined.family, recipe.model)})


def _without_modes(recipe: Recipe, lora: LoraSettings) -> Recipe:
    """The recipe with these adapters, whatever mode it trains in."""
    changes = {"mode": "lora", "shard": False, "offload": False, "lora": lora}
    return recipe.model_copy(update={"model": recipe.model.model_copy(update=changes)})
