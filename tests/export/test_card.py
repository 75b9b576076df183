from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from huggingface_hub import ModelCard

from marblecli.export.card import CardFacts, model_card
from marblecli.export.subject import Subject
from marblecli.types import RewardChange

FACTS = CardFacts(
    weights="average",
    step=7,
    recipe='[run]\nname = "tiny"\n',
    rewards=("ocr", "geneval"),
    evaluation_steps=40,
    resolution=512,
    files={"diffusers": "pytorch_lora_weights.safetensors"},
    changes={"held-out": (RewardChange("ocr", 0.5, 0.625, 0.1, 0.15, math.nan, math.nan, 8),)},
)


def python(card: str) -> str:
    (code,) = re.findall(r"```python\n(.*?)```", card, re.S)
    ast.parse(code)
    return str(code)


def on_hub(subject: Subject, base: str) -> Subject:
    return replace(subject, model=subject.model.model_copy(update={"pretrained": base}))


def test_the_hub_reads_its_metadata(subject_of: Callable[..., Subject]) -> None:
    subject = on_hub(subject_of(), "stabilityai/stable-diffusion-3.5-medium")
    card = ModelCard(model_card(subject, FACTS))
    data: dict[str, Any] = card.data.to_dict()
    assert data["base_model"] == "stabilityai/stable-diffusion-3.5-medium"
    assert data["license_name"] == "stabilityai-ai-community"
    assert "lora" in data["tags"]
    assert "licensed under the Stability AI Community License" in card.text
    assert "Powered by Stability AI" in card.text


def test_it_says_what_the_weights_are_and_what_they_score(
    subject_of: Callable[..., Subject],
) -> None:
    card = model_card(subject_of(rank=4, alpha=8.0), FACTS)
    assert "LoRA of rank 4, alpha 8 of `model`" in card
    assert "(ocr, geneval). This is the moving average of the weights after 7 steps." in card
    assert "| ocr | 0.500 | 0.625 | +0.125 | +0.100 … +0.150 | 8 |" in card
    assert "```toml\n[run]" in card
    assert "guidance_scale=1.0" in card


def test_no_folder_of_this_machine_is_told(subject_of: Callable[..., Subject]) -> None:
    subject = subject_of()
    card = model_card(subject, FACTS)
    assert subject.model.pretrained not in card
    assert "base_model" not in ModelCard(card).data.to_dict()


def test_without_intervals_or_evaluations_none_are_made_up(
    subject_of: Callable[..., Subject],
) -> None:
    means = replace(
        FACTS, changes={"train": (RewardChange("ocr", 0.5, 0.75, *(math.nan,) * 4, 0),)}
    )
    assert "| ocr | 0.500 | 0.750 | +0.250 |  |  |" in model_card(subject_of(), means)
    assert "weren't evaluated." in model_card(subject_of(), replace(FACTS, changes={}))


@pytest.mark.parametrize("name", ["diffusers", "merged"])
def test_each_file_has_its_lines_of_python(
    subject_of: Callable[..., Subject], full_subject: Subject, name: str
) -> None:
    facts = replace(FACTS, files={name: "x"}, repository="me/mine")
    adapter, full = python(model_card(subject_of(), facts)), python(model_card(full_subject, facts))
    if name == "merged":
        assert adapter == full
        assert 'snapshot_download("me/mine", allow_patterns="merged/*")' in full
        here = python(model_card(full_subject, replace(facts, repository=None)))
        assert 'from_pretrained("merged")' in here
    else:
        assert 'pipe.load_lora_weights("me/mine", weight_name="x")' in adapter
        assert 'SD3Transformer2DModel.from_pretrained("me/mine", subfolder="transformer")' in full


def test_files_of_other_tools_are_named(subject_of: Callable[..., Subject]) -> None:
    facts = replace(FACTS, files={"comfyui": "c.safetensors", "kohya": "k.safetensors"})
    card = model_card(subject_of(), facts)
    assert "put `c.safetensors` into `models/loras`" in card
    assert "**sd-scripts and Forge**: `k.safetensors`" in card
    assert "```python" not in card


def test_pictures_are_shown(subject_of: Callable[..., Subject]) -> None:
    card = model_card(subject_of(), replace(FACTS, pictures=("images/a.png",)))
    assert "](images/a.png)" in card
