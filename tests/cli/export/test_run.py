from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, StableDiffusion3Pipeline
from safetensors.torch import load_file

from marblecli.cli.target import TargetOptions, find_target, no_rewards, open_target
from marblecli.export.diffusers_format import DiffusersFormat
from marblecli.models.make_policies import make_policies
from marblecli.models.sd3.family import SD3
from marblecli.train.rollout import Sampling, sample
from marblecli.train.sampler import PromptSets
from marblecli.types import Prompt

Marble = Callable[..., Any]
PROMPT = Prompt("a red square on black", "mine")
STEPS = 4


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A copy of the finished run without its export."""
    copy = tmp_path / "run"
    shutil.copytree(finished_run, copy, ignore=shutil.ignore_patterns("export"))
    return copy


def test_a_finished_run_is_an_adapter_in_plain_diffusers(finished_run: Path) -> None:
    """Three lines of Python give the images of the average: loader, weights, prompt."""
    target = find_target(str(finished_run))
    sampler = open_target(target, PromptSets(evaluation={"x": (PROMPT,)}), no_rewards)
    generators = [torch.Generator().manual_seed(0)]
    ours = sample(sampler, Sampling("trained", STEPS), [PROMPT], 1, generators, lambda *_: None)

    pipe = StableDiffusion3Pipeline.from_pretrained(target.recipe.model.pretrained)
    pipe.load_lora_weights(str(finished_run / "export"))
    # The solver and the noise of evaluations.
    pipe.scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction",
        use_flow_sigmas=True,
        flow_shift=pipe.scheduler.config.shift,
    )
    shape = sampler.backbone.latent_shape(32)
    noise = torch.randn(1, *shape, generator=torch.Generator().manual_seed(0))
    settings: dict[str, Any] = {
        "prompt": PROMPT.text,
        "guidance_scale": 1.0,
        "num_inference_steps": STEPS,
        "height": 32,
        "width": 32,
        "max_sequence_length": 1,
        "output_type": "np",
    }
    theirs = pipe(latents=noise.clone(), **settings).images[0]
    mine = ours.images[0].permute(1, 2, 0).numpy()
    pipe.unload_lora_weights()
    base = pipe(latents=noise.clone(), **settings).images[0]
    # Its pipeline rounds noise levels to thousandths.
    assert np.abs(theirs - mine).mean() < 0.1 * np.abs(theirs - base).mean()

    # Our own sampler with the network that diffusers has fused.
    pipe.load_lora_weights(str(finished_run / "export"))
    pipe.fuse_lora()
    pipe.unload_lora_weights()
    policies = make_policies(SD3, pipe.transformer, target.recipe.model, old=False)
    generators = [torch.Generator().manual_seed(0)]
    fused = sample(
        replace(sampler, policies=policies),
        Sampling("reference", STEPS), [PROMPT], 1, generators, lambda *_: None,
    )  # fmt: skip
    torch.testing.assert_close(fused.images, ours.images, atol=1e-3, rtol=0)


def test_the_formats_that_are_named_are_written_and_told(marble: Marble, run: Path) -> None:
    shown = marble("export", run, "--format", "diffusers,comfyui,kohya,merged")
    assert shown.code == 0
    files = {
        "diffusers": "pytorch_lora_weights.safetensors",
        "comfyui": "tiny-comfyui.safetensors",
        "kohya": "tiny-kohya.safetensors",
        "merged": "merged",
    }
    *lines, card = shown.out.splitlines()
    assert card == f"model card: {run / 'export' / 'README.md'}"
    for line, (name, file) in zip(lines, files.items(), strict=True):
        assert line.startswith(f"{name}: {run / 'export' / file} (loaded back: differs by at most")
        assert (run / "export" / file).exists()


@pytest.mark.parametrize("name", ["comfyui", "kohya", "diffusers"])
def test_an_exported_file_is_a_target_again(marble: Marble, run: Path, name: str) -> None:
    """Whatever the tool, it reads back at the strength that it was trained with."""
    assert marble("export", run, "--format", name).code == 0
    (file,) = (run / "export").glob("*.safetensors")
    ours, again = find_target(str(run)), find_target(str(file))
    from marblecli.models.adapter_weights import adapter_of

    adapters = [adapter_of(each.load(), each.recipe.model.lora) for each in (ours, again)]
    assert adapters[0].layers.keys() == adapters[1].layers.keys()
    for layer, one in adapters[0].layers.items():
        torch.testing.assert_close(
            adapters[1].layers[layer].change(), one.change(), atol=1e-7, rtol=1e-5
        )


def test_other_weights_have_their_own_folder(marble: Marble, run: Path, tmp_path: Path) -> None:
    assert marble("export", run, "--weights", "trained", "--format", "diffusers").code == 0
    assert marble("export", run, "--step", 2, "--format", "diffusers").code == 0
    checkpoint = run / "checkpoints" / "step-000004"
    assert (
        marble("export", checkpoint, "--format", "diffusers", "--output", tmp_path / "x").code == 0
    )
    saved = load_file(checkpoint / "trained.safetensors")
    found = load_file(run / "export" / "trained" / "pytorch_lora_weights.safetensors")
    for name, tensor in saved.items():
        assert torch.equal(found[f"transformer.{name}"], tensor)
    assert (run / "export" / "step-000002" / "pytorch_lora_weights.safetensors").is_file()
    averaged = load_file(tmp_path / "x" / "pytorch_lora_weights.safetensors")
    for name, tensor in load_file(checkpoint / "ema.safetensors").items():
        assert torch.equal(averaged[f"transformer.{name}"], tensor)


def test_all_that_is_wrong_with_the_formats_is_told(
    marble: Marble, train_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "full", "model.mode=full", "training.steps=1")
    assert {path.name for path in (run / "export").iterdir()} >= {"transformer"}
    shown = marble("export", run, "--format", "difusers,comfyui,kohya")
    assert shown.code == 2
    assert shown.err.splitlines() == [
        "marble: --format: no format 'difusers' (did you mean 'diffusers'?)",
        "marble: --format comfyui: this run trained all weights, and has no adapter; use "
        "difference or merged",
        "marble: --format kohya: kohya's files hold adapters, and this run trained all weights; "
        "use merged",
    ]


def test_what_is_no_run_is_refused(marble: Marble, finished_run: Path, tmp_path: Path) -> None:
    assert marble("export", tmp_path).code == 2
    shown = marble("export", finished_run / "export")
    assert shown.code == 2
    assert "is no run directory and no checkpoint of one" in shown.err


def test_a_failed_check_leaves_nothing(
    marble: Marble, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DiffusersFormat, "check", _failing)
    shown = marble("export", run)
    assert (shown.code, shown.err) == (1, "marble: the load check failed: for a test\n")
    assert not list((run / "export").iterdir())


def test_an_export_that_fails_does_not_fail_the_run(
    train_tiny: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(DiffusersFormat, "check", _failing)
    run = train_tiny(tmp_path / "run", "training.steps=1")
    expected = (
        f"export failed: the load check failed: for a test; try again with: marble export {run}"
    )
    assert expected in " ".join(capfd.readouterr().err.split())


def _failing(*_: object) -> float:
    from marblecli.errors import MarbleError

    raise MarbleError("the load check failed: for a test")


def test_a_base_of_random_weights_is_exported_too(
    train_tiny: Callable[..., Path], tmp_path: Path
) -> None:
    run = train_tiny(tmp_path / "run", "model.random_weights=true", "training.steps=1")
    target = find_target(str(run / "export" / "tiny-comfyui.safetensors"), TargetOptions())
    assert target.recipe.model.random_weights
