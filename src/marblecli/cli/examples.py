"""The examples that each command's help ends with."""

from __future__ import annotations

from collections.abc import Mapping

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "train": (
        "marble train recipes/quickstart.toml",
        "marble train recipes/five_rewards.toml --dry-run --memory 24 --speed 100",
        "marble train recipes/quickstart.toml --set training.steps=10 --run-dir runs/short",
    ),
    "resume": (
        "marble resume runs/short",
        "marble resume runs/short --set training.steps=50",
    ),
    "eval": (
        "marble eval runs/quickstart",
        "marble eval runs/quickstart --prompts my-prompts.txt --rewards jpeg,sharpness",
        "marble eval runs/b --compare runs/a",
        "marble eval my-lora.safetensors --recipe recipes/five_rewards.toml",
    ),
    "sample": (
        'marble sample runs/quickstart "a red square on gray" --with-base --grid',
        'marble sample my-lora.safetensors "a cat" --images 4 --guidance 4.5 --size 768x768',
    ),
    "export": (
        "marble export runs/quickstart",
        "marble export runs/quickstart --format comfyui,kohya",
    ),
    "solve": ("marble solve gradients.safetensors", "marble solve gram.json --json"),
    "inspect-conflicts": (
        "marble inspect-conflicts runs/quickstart",
        "marble inspect-conflicts runs/quickstart --json",
        "marble inspect-conflicts recipes/quickstart.toml --geometries",
    ),
    "report": ("marble report runs/quickstart", "marble report runs/a runs/b"),
    "lab": (
        "marble lab recipes/lab/quick.toml --jobs 2",
        "marble lab recipes/lab/full.toml --jobs 2 --background",
        "marble lab recipes/lab/full.toml --status",
    ),
    "rewards list": ("marble rewards list", "marble rewards list ocr"),
    "rewards check": (
        "marble rewards check sky-blue",
        "marble rewards check ocr --prompts recipes/prompts/five_rewards/ocr-held-out.jsonl",
    ),
    "rewards new": ("marble rewards new sky-blue",),
    "rewards download": (
        "marble rewards download --recipe recipes/five_rewards.toml",
        "marble rewards download pickscore",
    ),
    "rewards serve": ("marble rewards serve pickscore --device cuda --port 8400",),
    "methods list": ("marble methods list",),
    "methods check": ("marble methods check marble --set floors.ocr=0.2",),
}
"""By command, without ``marble``."""


def examples(command: str) -> str:
    """The examples as the end of a help text: a paragraph each."""
    return "\n\n".join(("Examples:", *(f"  {line}" for line in EXAMPLES[command])))
