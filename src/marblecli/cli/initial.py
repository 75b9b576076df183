"""``model.lora.init``: the adapter that a run starts from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError, Problem, show_value
from marblecli.models.architectures import Architecture
from marblecli.models.check import model_problems
from marblecli.models.supported import Examined, examine_model
from marblecli.runs.adapter_files import read_adapter_file
from marblecli.settings import LoraSettings, ModelSettings

if TYPE_CHECKING:
    from marblecli.models.adapter_weights import AdapterWeights
    from marblecli.train.sampler import Sampler


def all_model_problems(model: ModelSettings, resolution: int | None = None) -> list[Problem]:
    """What :func:`model_problems` finds, and what is wrong with the adapter to start from."""
    found = model_problems(model, resolution)
    if found or model.lora.init is None:
        return found
    if model.mode != "lora":
        return [Problem("model.lora.init", 'needs model.mode = "lora"')]
    examined = examine_model(model)
    try:
        adapter = read_initial(model.lora.init, examined)
    except BadInputError as error:
        return [Problem("model.lora.init", str(error))]
    return list(_mismatches(model.lora, adapter, examined))


def start_from_adapter(sampler: Sampler) -> None:
    """Set trained and old policy to the recipe's initial adapter, if it names one.

    Raises BadInputError if that can't be read any more.
    """
    model = sampler.recipe.model
    if model.lora.init is None:
        return
    tensors = read_initial(model.lora.init, examine_model(model)).tensors()
    sampler.policies.load(tensors, tensors)


def read_initial(path: Path, examined: Examined) -> AdapterWeights:
    """The adapter of a file or folder, with one rank and alpha, for the examined model."""
    from marblecli.models.adapter_reading import read_adapter

    if not isinstance(examined.architecture, Architecture):
        raise examined.architecture
    file = read_adapter_file(path)
    return read_adapter(file, examined.family, examined.architecture).uniform()


def _mismatches(
    lora: LoraSettings, adapter: AdapterWeights, examined: Examined
) -> Iterator[Problem]:
    """Where the recipe's adapters aren't of the initial one's shape, and what to set."""
    own = adapter.settings()
    for key in ("rank", "alpha", "dora"):
        wanted, found = getattr(own, key), getattr(lora, key)
        if wanted != found:
            yield Problem(
                f"model.lora.{key}",
                f"is {show_value(found)}, and the adapter {lora.init} has {show_value(wanted)}: "
                f"set model.lora.{key} = {show_value(wanted)}",
            )
    layers = _recipes_layers(lora, examined)
    if layers != set(adapter.layers):
        yield Problem("model.lora.targets", _other_layers(lora, adapter, layers, examined))


def _recipes_layers(lora: LoraSettings, examined: Examined) -> set[str]:
    from marblecli.models.random import empty_part
    from marblecli.models.targets import adapted_layers

    family, architecture = examined.family, examined.architecture
    if not isinstance(architecture, Architecture):
        raise architecture
    build = partial(family.build, "transformer", architecture.parts["transformer"])
    return set(adapted_layers(empty_part(build), lora.targets, family.spec.adapters))


def _other_layers(
    lora: LoraSettings, adapter: AdapterWeights, layers: set[str], examined: Examined
) -> str:
    from marblecli.models.targets import targets_of

    more, fewer = sorted(adapter.layers.keys() - layers), sorted(layers - adapter.layers.keys())
    differ = [
        *(f"{len(more)} that the recipe doesn't, such as {more[0]}" for _ in more[:1]),
        *(f"not {len(fewer)} that the recipe does, such as {fewer[0]}" for _ in fewer[:1]),
    ]
    short = targets_of(list(adapter.layers))
    same = _recipes_layers(lora.model_copy(update={"targets": short}), examined)
    advice = _list(short) if same == set(adapter.layers) else "the whole names of its layers"
    return (
        f"the adapter {lora.init} adapts {', and '.join(differ)}: set model.lora.targets = {advice}"
    )


def _list(names: Sequence[str]) -> str:
    return "[" + ", ".join(f'"{name}"' for name in names) + "]"
