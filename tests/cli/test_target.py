"""The same weights by every name: images are compared with those of the run itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline
from safetensors.torch import load_file, save_file
from torch import Tensor

from marblecli.cli.export.run import ExportRequest, export_run
from marblecli.cli.target import Target, TargetOptions, find_target, no_rewards, open_target
from marblecli.errors import BadInputError, RecipeError
from marblecli.train.rollout import Sampling, sample
from marblecli.train.sampler import PromptSets, Sampler
from marblecli.types import Prompt

PROMPT = Prompt("a red square on black", "mine")


def opened(target: Target) -> Sampler:
    return open_target(target, PromptSets(evaluation={"mine": (PROMPT,)}), no_rewards)


def images(sampler: Sampler, policy: str = "trained") -> Tensor:
    generators = [torch.Generator().manual_seed(0)]
    return sample(sampler, Sampling(policy, 3), [PROMPT], 2, generators, lambda *_: None).images


@pytest.fixture(scope="session")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run, with its average as a file of diffusers' in ``export``."""
    copy = tmp_path_factory.mktemp("target") / "run"
    shutil.copytree(finished_run, copy)
    layers = load_file(copy / "checkpoints" / "step-000004" / "ema.safetensors")
    StableDiffusion3Pipeline.save_lora_weights(
        copy / "export", layers, transformer_lora_adapter_metadata={"r": 2, "lora_alpha": 4}
    )
    return copy


@pytest.fixture(scope="session")
def of_the_run(run: Path) -> Tensor:
    return images(opened(find_target(str(run))))


def test_run_checkpoint_file_and_adapter_are_the_same_images(run: Path, of_the_run: Tensor) -> None:
    checkpoint = run / "checkpoints" / "step-000004"
    export = run / "export"
    for place, kind in (
        (checkpoint, "checkpoint"),
        (checkpoint / "ema.safetensors", "checkpoint"),
        (export, "adapter"),
        (export / "pytorch_lora_weights.safetensors", "adapter"),
    ):
        target = find_target(str(place))
        assert (target.kind, target.place) == (kind, str(place))
        assert target.recipe_file == run / "recipe.toml"
        # One rank and alpha: the same kernels on the same shapes.
        assert torch.equal(images(opened(target)), of_the_run)


def test_the_reference_is_the_base_and_so_is_a_model(run: Path, of_the_run: Tensor) -> None:
    target = find_target(str(run))
    base = images(opened(target), "reference")
    assert not torch.equal(base, of_the_run)
    model = find_target(target.recipe.model.pretrained, TargetOptions(recipe=run))
    assert model.kind == "model"
    torch.testing.assert_close(images(opened(model)), base, atol=1e-5, rtol=0)


def test_other_weights_and_steps_of_a_run(run: Path, of_the_run: Tensor) -> None:
    for options in (TargetOptions(weights="trained"), TargetOptions(step=2)):
        assert not torch.equal(images(opened(find_target(str(run), options))), of_the_run)
    with pytest.raises(BadInputError, match=r"step 3; there are step-000002, step-000004"):
        find_target(str(run), TargetOptions(step=3))


def test_an_adapter_elsewhere_needs_its_base(run: Path, of_the_run: Tensor, tmp_path: Path) -> None:
    file = tmp_path / "moved.safetensors"
    shutil.copy(run / "export" / "pytorch_lora_weights.safetensors", file)
    with pytest.raises(BadInputError, match=r"doesn.t say which model .* --base"):
        find_target(str(file))
    base = find_target(str(run)).recipe.model.pretrained
    same = ("model.dtype=fp32", "model.max_sequence_length=1", "sampling.resolution=32")
    by_base = TargetOptions(base=base, overrides=same)
    for options in (TargetOptions(recipe=run), by_base):
        assert torch.equal(images(opened(find_target(str(file), options))), of_the_run)


def test_an_adapter_may_name_its_base(run: Path, tmp_path: Path) -> None:
    base = find_target(str(run)).recipe.model.pretrained
    tensors = load_file(run / "export" / "pytorch_lora_weights.safetensors")
    settings = {"transformer.base_model_name_or_path": base, "transformer.lora_alpha": 3}
    file = tmp_path / "named.safetensors"
    save_file(tensors, file, {"lora_adapter_metadata": json.dumps(settings)})
    target = find_target(str(file), TargetOptions(overrides=["sampling.resolution=32"]))
    assert target.recipe.model.pretrained == base
    assert (target.recipe.model.lora.rank, target.recipe.model.lora.alpha) == (2, 3)


def test_full_weights_are_a_run_too(train_tiny: Callable[..., Path], tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "full", "model.mode=full", "training.steps=2")
    sampler = opened(find_target(str(run)))
    saved = load_file(run / "checkpoints" / "step-000002" / "ema.safetensors")
    for name, parameter in sampler.policies.trained_parameters().items():
        assert torch.equal(parameter, saved[name])


def test_a_merged_pipeline_runs_as_its_run_did(run: Path, of_the_run: Tensor) -> None:
    export_run(ExportRequest(run, "merged"))
    target = find_target(str(run / "export" / "merged"))
    assert (target.kind, target.recipe_file) == ("model", run / "recipe.toml")
    torch.testing.assert_close(images(opened(target)), of_the_run, atol=1e-4, rtol=0)


def test_what_is_nothing_is_refused(run: Path, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent", run / "recipe.toml"):
        with pytest.raises(BadInputError, match="no run directory, no checkpoint, no adapter"):
            find_target(str(place))
    shutil.copytree(run / "checkpoints" / "step-000004", tmp_path / "alone")
    with pytest.raises(BadInputError, match="a checkpoint outside of its run"):
        find_target(str(tmp_path / "alone"))
    with pytest.raises(RecipeError, match=r"sampling\.resolution"):
        find_target(str(run), TargetOptions(overrides=["sampling.resolution=40"]))
    with pytest.raises(BadInputError, match="--base is for adapters"):
        find_target("me/sd3-model", TargetOptions(base="me/sd3-other"))
