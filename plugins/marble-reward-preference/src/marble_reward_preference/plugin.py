"""What this package registers with marble: five learned rewards, quick to list."""

from __future__ import annotations

import math

from marble_reward_preference.options import (
    AestheticOptions,
    ClipScoreOptions,
    HpsOptions,
    ImageRewardOptions,
    PickScoreOptions,
    files,
)
from marblecli.rewards import MovableScorer, Register, RewardSpec, hookimpl


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the five rewards."""
    for spec in (PICKSCORE, HPSV2, CLIPSCORE, AESTHETIC, IMAGEREWARD):
        register(spec)


# The scorers import torch and transformers: only when a run needs them.


def _build_pickscore(options: PickScoreOptions, device: str) -> MovableScorer:
    from marble_reward_preference.pickscore import PickScore

    return PickScore(options, device)


def _build_hpsv2(options: HpsOptions, device: str) -> MovableScorer:
    from marble_reward_preference.hpsv2 import Hps

    return Hps(options, device)


def _build_clipscore(options: ClipScoreOptions, device: str) -> MovableScorer:
    from marble_reward_preference.clipscore import ClipScore

    return ClipScore(options, device)


def _build_aesthetic(options: AestheticOptions, device: str) -> MovableScorer:
    from marble_reward_preference.aesthetic import Aesthetic

    return Aesthetic(options, device)


def _build_imagereward(options: ImageRewardOptions, device: str) -> MovableScorer:
    from marble_reward_preference.imagereward import ImageReward

    return ImageReward(options, device)


PICKSCORE = RewardSpec(
    name="pickscore",
    summary="Which image people would pick for the prompt (PickScore), about 0.8.",
    build=_build_pickscore,
    options=PickScoreOptions,
    images="pil",
    range=(-100 / 26, 100 / 26),
    files=files,
)
HPSV2 = RewardSpec(
    name="hpsv2",
    summary="Human preference for the prompt (HPSv2.1), about 0.25.",
    build=_build_hpsv2,
    options=HpsOptions,
    images="float",
    range=(-1.0, 1.0),
    files=files,
)
CLIPSCORE = RewardSpec(
    name="clipscore",
    summary="Similarity of image and prompt to CLIP ViT-L/14, about 0.27.",
    build=_build_clipscore,
    options=ClipScoreOptions,
    images="float",
    range=(-1.0, 1.0),
    files=files,
)
AESTHETIC = RewardSpec(
    name="aesthetic",
    summary="The LAION aesthetic predictor, whatever the prompt; trained on marks of 1 to 10.",
    build=_build_aesthetic,
    options=AestheticOptions,
    images="pil",
    range=(-math.inf, math.inf),
    files=files,
)
IMAGEREWARD = RewardSpec(
    name="imagereward",
    summary="Human preference for the prompt (ImageReward), standardised to mean 0, deviation 1.",
    build=_build_imagereward,
    options=ImageRewardOptions,
    images="pil",
    range=(-math.inf, math.inf),
    files=files,
)
