"""Made-up runs for tests of pages."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from marblecli.report.gallery import Exhibit, Frame, Gallery
from marblecli.report.run_data import Conflicts, RunData
from marblecli.types import EvaluationRecord, ScoredImage
from support.findings import findings_of, records_of

REWARDS = ("ocr", "aesthetic", "a-reward-with-quite-a-long-name")
SHIFTS = {"ocr": 0.2, "aesthetic": -0.2, "a-reward-with-quite-a-long-name": 0.0}
"""What each reward gains until the last evaluation."""


def evaluation(step: int, shifts: dict[str, float], seed: int = 0) -> EvaluationRecord:
    """Two images of each of eight prompts a split; ``shifts`` are added to the same scores."""
    images = {
        split: tuple(
            ScoredImage(
                prompt=f"{split} prompt {place}",
                source="made-up",
                place=place,
                number=number,
                scores={
                    name: 0.5 + shift + 0.01 * np.sin(7.0 * place + 3.0 * number + step * 0.1)
                    for name, shift in shifts.items()
                },
            )
            for place in range(8)
            for number in range(2)
        )
        for split in ("train", "held-out")
    }
    return EvaluationRecord(step, "trained" if step else "base", images, seed=seed)


def evaluations(steps: Sequence[int] = (0, 5, 10)) -> list[EvaluationRecord]:
    """Rewards move steadily by :data:`SHIFTS`."""
    last = max(*steps, 1)
    return [
        evaluation(step, {name: shift * step / last for name, shift in SHIFTS.items()})
        for step in steps
    ]


def metrics(steps: int = 10) -> list[dict[str, Any]]:
    return [
        {
            "step": step,
            "seconds": 2.0,
            "rewards": dict.fromkeys(REWARDS, 0.5 + 0.01 * step),
            "valid": dict.fromkeys(REWARDS, 8),
            "phases": {"sampling": 1.0, "gradients": 0.5},
        }
        for step in range(1, steps + 1)
    ]


def frame(colour: str = "red", notes: tuple[tuple[str, str], ...] = ()) -> Frame:
    buffer = BytesIO()
    Image.new("RGB", (8, 8), colour).save(buffer, format="png")
    return Frame(buffer.getvalue(), "image/png", 8, 8, notes)


def gallery(prompt: str = "a cat") -> Gallery:
    frames = {step: frame("blue", (("ocr", f"+0.{step:03d}"),)) for step in (5, 10)}
    return Gallery("The same prompts", "", (Exhibit(prompt, "held-out prompt", frame(), frames),))


RECIPE = {
    "run": {"name": "demo", "seed": 0},
    "model": {"pretrained": "someone/model", "mode": "lora", "lora": {"rank": 4, "alpha": 8.0}},
    "rewards": {name: {"weight": 1.0} for name in REWARDS},
    "sampling": {"resolution": 32, "prompts_per_step": 4, "group_size": 2},
    "training": {"steps": 10, "learning_rate": 1e-3},
    "balance": {"method": "equal"},
}


def run_data(title: str = "runs/demo", **changed: Any) -> RunData:
    """A whole run, but for what is ``changed``."""
    fields: dict[str, Any] = {
        "title": title,
        "recipe": RECIPE,
        "recipe_text": 'name = "demo"',
        "environment": {"python": "3.12", "device": "cpu", "packages": {"torch": "2.13"}},
        "metrics": metrics(),
        "evaluations": evaluations(),
        "conflicts": Conflicts(records_of(REWARDS, batches=12), findings_of(REWARDS)),
        "galleries": (gallery(),),
        "missing": (),
    }
    return RunData(**{**fields, **changed})


def bare_run(title: str = "runs/bare") -> RunData:
    """A run that has just been started."""
    return run_data(
        title,
        recipe={},
        recipe_text="",
        environment={},
        metrics=(),
        evaluations=(),
        conflicts=None,
        galleries=(),
        missing=("There is no evaluation yet.",),
    )
