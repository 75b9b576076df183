from __future__ import annotations

from typing import Any

from gpu_check.results import DONE, FAILED, Result
from gpu_check.table import page

GIB = 2**30


def step(rate: float, **more: Any) -> dict[str, Any]:
    return {
        "images": 36,
        "rewards": 5,
        "sampler_steps": 8,
        "noise_levels": 4,
        "seconds": [36 / rate],
        "images_per_second": rate,
        "stages": {"sampling": 1.5},
        "passes": {"sampling": 8.0, "old forward": 4.0, "backward": 6.0},
        "peaks": {"sampling": 20 * GIB},
        "allocated": 30 * GIB,
        "reserved": 32 * GIB,
        "outside": GIB,
        **more,
    }


def row(text: str, title: str) -> list[str]:
    """The cells of a row of a table, without its first."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"| {title} |")]
    return [cell.strip() for cell in line.split("|")[2:-1]]


def test_steps_stand_side_by_side_and_are_held_against_the_published() -> None:
    text = page(
        [Result("published", DONE, figures=step(0.5)), Result("ours", DONE, figures=step(3))]
    )
    assert row(text, "speed") == ["1.00", "6.00"]
    assert row(text, "images a second") == ["0.500", "3.000"]
    assert row(text, "forward passes of an image") == ["12.00", "12.00"]
    assert row(text, "sampling, s") == ["1.50", "1.50"]


def test_the_plan_stands_beside_what_was_measured() -> None:
    plan = {"phases": {"sampling": 21 * GIB}, "peak": 31 * GIB, "phase": "gradients", "cpu": 0}
    capped = step(2, plan=plan, cap=23 * GIB, micro_batch_size=4)
    text = page([Result("capped", DONE, figures=capped)])
    assert row(text, "24 GB")[:6] == ["31.0", "30.0", "33.0", "23.0", "- / -", "21.0 / 20.0"]
    assert "micro-batches ended at 4 images" in text


def test_what_failed_says_why_and_shows_what_it_came_to() -> None:
    figures = {"images": 36, "rewards": 5, "sampler_steps": 8, "noise_levels": 4}
    text = page([Result("ours", FAILED, seconds=90.0, reason="out of memory", figures=figures)])
    assert "failed: out of memory | 90 |" in text
    assert row(text, "images of a step") == ["36"]
    assert row(text, "seconds of a step") == ["-"]


def test_a_rehearsal_says_so_and_a_measurement_does_not() -> None:
    assert "This is a rehearsal" in page([Result("ours", DONE, rehearsal=True, figures=step(1))])
    assert "rehearsal" not in page([Result("ours", DONE, figures=step(1))])


def test_nothing_measured_makes_a_page_too() -> None:
    assert "nothing was measured yet" in page([])


def test_gradients_and_updates_have_tables_of_their_own() -> None:
    found = {"cosines": [0.999, 0.9], "relative_difference": [0.01, 0.02]}
    gradients = Result("gradients", DONE, figures={"bf16 and float32": found})
    updates = Result(
        "updates",
        DONE,
        figures={
            "rows": 36,
            "forward_seconds": 0.5,
            "backward_seconds": 0.6,
            "variants": {"contracted": {"seconds": 2.0, "peak": 8 * GIB}},
            "checkpointed": {"contracted": {"seconds": 3.0, "peak": 4 * GIB}},
        },
    )
    text = page([gradients, updates])
    assert row(text, "bf16 and float32") == ["0.900000", "2.00e-02"]
    assert row(text, "contracted") == ["2.000", "8.0", "3.000", "4.0"]
