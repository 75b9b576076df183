from __future__ import annotations

import json
from pathlib import Path

import pytest

import throughput

TINY = Path(__file__).parents[2] / "plugins" / "marble-reward-shapes" / "tiny-sd3"


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    target = tmp_path_factory.mktemp("throughput") / "out.json"
    options = throughput.Options(
        model=str(TINY),
        resolution=32,
        prompts=2,
        group_size=2,
        noise_levels=2,
        micro_batch_size=2,
        sampler_steps=2,
        pull_share=1.0,
        rewards=2,
        tower="none",
        dtype="fp32",
        compile=False,
        gradient_checkpointing=False,
        rounds=1,
        memory_cap=None,
        json=target,
    )
    throughput.run(options)
    found: dict[str, object] = json.loads(target.read_text())
    return found


def test_every_variant_makes_whole_steps(document: dict[str, object]) -> None:
    variants = document["variants"]
    assert isinstance(variants, dict)
    assert set(variants) == {"published", "marble", "single"}
    for figures in variants.values():
        assert figures["images_per_second"] == pytest.approx(4 / figures["seconds"][0])


@pytest.mark.parametrize(
    ("variant", "stages"),
    [
        ("published", {"text encoders", "sampling", "decoding", "backward", "reference forward"}),
        ("marble", {"sampling", "decoding", "backward", "balance", "optimizer"}),
    ],
)
def test_the_split_names_the_stages_of_a_step(
    document: dict[str, object], variant: str, stages: set[str]
) -> None:
    variants = document["variants"]
    assert isinstance(variants, dict)
    split = variants[variant]["split"]
    assert stages <= set(split)
    assert all(seconds >= 0.0 for seconds in split.values())


def test_prompts_are_embedded_before_the_steps(document: dict[str, object]) -> None:
    variants = document["variants"]
    assert isinstance(variants, dict)
    assert "text encoders" not in variants["marble"]["split"]
