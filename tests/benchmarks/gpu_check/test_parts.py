"""The parts are rehearsed at a tiny size: some in this process, all of them by the command."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from gpu_check import gradient_part, marked_tests, planned, step_parts
from gpu_check.parts import PARTS
from gpu_check.sizes import ON_A_GPU, REHEARSAL
from marblecli.errors import MarbleError
from marblecli.planning.plan import Item, MemoryPlan

ROOT = Path(__file__).parents[3]


class Noted(dict[str, Any]):
    """Collects what a part notes."""

    def __call__(self, figures: Mapping[str, Any]) -> None:
        self.update(figures)


@pytest.fixture(scope="module")
def ours() -> Noted:
    noted = Noted()
    step_parts.ours(REHEARSAL, noted)
    return noted


def test_a_step_has_its_time_its_passes_and_its_memory(ours: Noted) -> None:
    assert ours["images"] == 4
    assert ours["images_per_second"] == pytest.approx(4 / ours["seconds"][0])
    assert set(ours["peaks"]) == {"prompts", "sampling", "decoding", "gradients", "update"}
    assert ours["allocated"] >= max(ours["peaks"].values())
    assert ours["plan"]["peak"] == max(ours["plan"]["phases"].values())
    assert ours["operations"] > 0


def test_the_passes_of_an_image_are_those_of_its_geometry(ours: Noted) -> None:
    """Two sampler steps and two rows; the pull is on one of four micro-batches."""
    passes = ours["passes"]
    assert passes["sampling"] == 2.0
    assert passes["old forward"] == passes["trained forward"] == 2.0
    assert passes["reference forward"] == 2.0 / 4
    assert passes["backward"] == 2.0 + 2 * 2.0 / 4


def test_gradients_agree_as_far_as_their_precision() -> None:
    noted = Noted()
    gradient_part.gradients(REHEARSAL, noted)
    exact, low = noted["contracted and plain, float32"], noted["bf16 and float32"]
    assert max(exact["relative_difference"]) < 1e-4
    # A bf16 has 8 bits; on their way through the network, errors grow.
    assert 1e-4 < max(low["relative_difference"]) < 0.2
    assert min(low["cosines"]) > 0.98


def test_differences_worked_by_hand() -> None:
    one, other = [torch.tensor([[3.0, 4.0]])], [torch.tensor([[3.0, 0.0]])]
    found = gradient_part.difference(one, other)
    assert found["cosines"] == pytest.approx([0.6])
    assert found["relative_difference"] == pytest.approx([4 / 3])


def test_the_marked_tests_are_found() -> None:
    files = {file.relative_to(ROOT).as_posix() for file in marked_tests.marked_files()}
    assert "tests/engine/test_copies.py" in files
    assert "tests/engine/test_device.py" not in files


def test_a_plan_fits_if_card_and_cpu_have_room(monkeypatch: pytest.MonkeyPatch) -> None:
    items = (Item("a", {"update": 80}), Item("b", {"update": 50}, on_cpu=True))
    plan = MemoryPlan(items, 0, 0, 0, ())

    def there(card: int | None, cpu: int) -> bool:
        monkeypatch.setattr(planned, "total_memory", lambda: card)
        monkeypatch.setattr(planned, "available_cpu_memory", lambda: cpu)
        return planned.fits(plan)

    assert there(100, 100)
    assert there(None, 100)
    assert not there(79, 100)
    assert not there(100, 51)


@pytest.mark.slow
def test_full_mode_takes_the_first_recipe_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[tuple[int, Any]] = []
    monkeypatch.setattr(step_parts, "_ours", lambda options, *_: tried.append((_[0], options)))
    monkeypatch.setattr(step_parts, "fits", lambda _: len(seen) == 2)
    seen: list[int] = []
    plain = step_parts.count_plan

    def counted(recipe: Any, rewards: Any) -> MemoryPlan:
        seen.append(len(recipe.rewards))
        return plain(recipe, rewards)

    monkeypatch.setattr(step_parts, "count_plan", counted)
    noted = Noted()
    step_parts.offload(REHEARSAL, noted)
    assert seen == [2, 1]
    assert tried[0][0] == 1
    assert tried[0][1].changes["model.offload"] is True
    monkeypatch.setattr(step_parts, "fits", lambda _: False)
    with pytest.raises(MarbleError, match="nothing fits this machine: at the least"):
        step_parts.full(REHEARSAL, noted)


def test_the_sizes_are_those_of_the_recipes() -> None:
    assert ON_A_GPU.model == "stabilityai/stable-diffusion-3.5-medium"
    assert (ON_A_GPU.published.sampler_steps, ON_A_GPU.published.noise_levels) == (25, 24)
    assert ON_A_GPU.ours.noise_levels == 4
    assert step_parts.OUR_LEVELS["training.levels.low"] == 0.8


@pytest.mark.slow
def test_the_command_is_rehearsed_from_another_folder(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check"), "--rehearse"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "This is a rehearsal" in ran.stdout
    folder = tmp_path / "runs" / "gpu-check"
    states = {part.name: json.loads((folder / f"{part.name}.json").read_text()) for part in PARTS}
    assert {each["state"] for each in states.values()} == {"done"}
    # All of it is printed again from the files alone.
    again = subprocess.run(
        [*command[:2], "--table"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert again.stdout == ran.stdout


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_without_cuda_a_rehearsal_is_offered(tmp_path: Path) -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_check")]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "--rehearse" in ran.stderr
