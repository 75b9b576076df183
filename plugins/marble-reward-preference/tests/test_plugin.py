from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marblecli.errors import BadInputError, MarbleError
from marblecli.rewards.host import RewardCatalog
from marblecli.rewards.testing import check_reward

Build = Callable[..., Any]
Score = Callable[..., np.ndarray]

NAMES = ("aesthetic", "clipscore", "hpsv2", "imagereward", "pickscore")
each_reward = pytest.mark.parametrize("name", NAMES)


def test_they_are_found_as_a_strangers_package_is(catalog: RewardCatalog) -> None:
    ours = [r for r in catalog.rewards.values() if r.distribution == "marble-reward-preference"]
    assert {reward.spec.name for reward in ours} == set(NAMES)
    assert not [f for f in catalog.failures if f.distribution == "marble-reward-preference"]


@each_reward
def test_each_keeps_the_contract(name: str, tiny: dict[str, Path]) -> None:
    check_reward(name, options={"model": str(tiny[name])}).raise_if_failed()


@each_reward
def test_scores_are_finite_in_range_and_differ(
    name: str,
    build: Build,
    score: Score,
    catalog: RewardCatalog,
    images: Tensor,
    prompts: list[str],
) -> None:
    values = score(name, build(name), images, prompts)
    low, high = catalog.get(name).spec.range
    assert np.isfinite(values).all()
    assert ((values >= low) & (values <= high)).all()
    assert np.unique(values.round(6)).size == 6


@each_reward
def test_a_score_depends_on_its_own_image_and_prompt_only(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    together = score(name, scorer, images, prompts)
    alone = [score(name, scorer, images[[i]], prompts[i : i + 1])[0] for i in range(6)]
    order = [3, 0, 5, 1, 4, 2]
    shuffled = score(name, scorer, images[order], [prompts[i] for i in order])
    np.testing.assert_allclose(alone, together, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(shuffled, together[order], rtol=1e-4, atol=1e-5)


@each_reward
def test_it_scores_the_same_again_whatever_the_callers_modes(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    before = torch.get_rng_state()
    first = score(name, scorer, images, prompts)
    with torch.enable_grad(), torch.autocast("cpu", torch.bfloat16):
        again = score(name, scorer, images, prompts)
    np.testing.assert_array_equal(first, again)
    assert torch.equal(before, torch.get_rng_state())
    np.testing.assert_array_equal(score(name, build(name), images, prompts), first)


@each_reward
@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_is_near_float32_and_not_it(
    name: str, dtype: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    exact = score(name, build(name), images, prompts)
    half = score(name, build(name, dtype=dtype), images, prompts)
    np.testing.assert_allclose(half, exact, atol=0.005 + 0.02 * np.abs(exact).max())
    assert (half != exact).any()


@each_reward
def test_the_prompt_matters_to_all_but_aesthetic(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    first = score(name, scorer, images, prompts)
    second = score(name, scorer, images, prompts[::-1])
    assert np.array_equal(first, second) == (name == "aesthetic")


@each_reward
def test_images_may_be_of_any_shape(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    for shape in ((32, 32), (20, 20), (64, 33), (31, 90)):
        resized = torch.nn.functional.interpolate(images, shape)
        assert np.isfinite(score(name, scorer, resized, prompts)).all()


@each_reward
def test_it_can_be_moved(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    before = score(name, scorer, images, prompts)
    scorer.to("cpu")
    np.testing.assert_array_equal(score(name, scorer, images, prompts), before)


@pytest.mark.gpu
@each_reward
def test_it_scores_on_the_gpu_and_back(
    name: str, build: Build, score: Score, images: Tensor, prompts: list[str]
) -> None:
    scorer = build(name)
    before = score(name, scorer, images, prompts)
    scorer.to("cuda")
    there = score(name, scorer, images.cuda(), prompts)
    scorer.to("cpu")
    np.testing.assert_allclose(there, before, rtol=1e-3, atol=1e-3)
    np.testing.assert_array_equal(score(name, scorer, images, prompts), before)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("aesthetic", "aesthetic-model.pth"),
        ("aesthetic", "preprocessor_config.json"),
        ("clipscore", "model.safetensors"),
        ("clipscore", "tokenizer.json"),
        ("hpsv2", "HPS_v2.1_compressed.pt"),
        ("hpsv2", "tokenizer.json"),
        ("imagereward", "ImageReward.pt"),
        ("imagereward", "vocab.txt"),
        ("pickscore", "preprocessor_config.json"),
    ],
)
def test_a_missing_file_is_named_in_one_line(
    name: str, file: str, catalog: RewardCatalog, broken: Callable[[str], Path]
) -> None:
    folder = broken(name)
    (folder / file).unlink()
    with pytest.raises(MarbleError) as caught:
        catalog.build(name, {"model": str(folder)}, "cpu")
    message = str(caught.value)
    assert "\n" not in message
    assert file in message
    assert str(folder) in message


def test_wrong_options_are_named(catalog: RewardCatalog) -> None:
    (problem,) = catalog.check_options("pickscore", {"dtype": "fp8"})
    assert str(problem) == "rewards.pickscore.dtype: must be 'fp32', 'bf16' or 'fp16', got \"fp8\""
    with pytest.raises(BadInputError, match=r"unknown key \(did you mean 'revision'\?\)"):
        catalog.build("hpsv2", {"revison": "main"}, "cpu")


def test_registering_imports_no_model_library() -> None:
    code = "import sys, marble_reward_preference.plugin;"
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'transformers', 'ftfy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
