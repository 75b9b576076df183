"""What this package registers with marble: the reward ``geneval``, quick to list."""

from __future__ import annotations

from marble_reward_geneval.options import GenEvalOptions, files, folders
from marble_reward_geneval.rules import LOWEST, SCORES
from marblecli.rewards import MovableScorer, Prompt, Register, RewardSpec, hookimpl


def _asks_for_objects(prompt: Prompt) -> bool:
    return bool(prompt.metadata["include"])


def _build(options: GenEvalOptions, device: str) -> MovableScorer:
    # torch and transformers: only when a run needs them.
    import torch

    from marble_reward_geneval.colours import ColourClassifier
    from marble_reward_geneval.detector import Detector
    from marble_reward_geneval.scorer import GenEvalScorer, Rules

    detector, clip = folders(options)
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[options.dtype]
    rules = Rules(
        score=SCORES[options.score],
        threshold=options.threshold,
        counting_threshold=options.counting_threshold,
        margin=options.position_margin,
    )
    scorer = GenEvalScorer(
        Detector(detector, dtype, options.short_side), ColourClassifier(clip, dtype), rules
    )
    scorer.to(device)
    return scorer


GENEVAL = RewardSpec(
    name="geneval",
    summary="The objects asked for are there: count, colour and position, after GenEval.",
    build=_build,
    options=GenEvalOptions,
    metadata=("include",),
    optional_metadata=("tag", "exclude"),
    condition=_asks_for_objects,
    range=(LOWEST, 1.0),
    files=files,
    examples=(
        Prompt(
            "a photo of two dogs",
            "geneval",
            {
                "tag": "counting",
                "include": [{"class": "dog", "count": 2}],
                "exclude": [{"class": "dog", "count": 3}],
            },
        ),
        Prompt(
            "a photo of a red cup left of a blue chair",
            "geneval",
            {
                "tag": "position",
                "include": [
                    {"class": "chair", "count": 1, "color": "blue"},
                    {"class": "cup", "count": 1, "color": "red", "position": ["left of", 0]},
                ],
            },
        ),
    ),
)


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the reward."""
    register(GENEVAL)
