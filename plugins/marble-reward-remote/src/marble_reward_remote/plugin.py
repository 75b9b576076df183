"""What this package registers with marble: ``http`` and ``vlm-judge``, quick to list."""

from __future__ import annotations

import math

from marble_reward_remote.options import HttpOptions, JudgeOptions
from marblecli.rewards import Register, RewardSpec, Scorer, hookimpl


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the two rewards."""
    register(HTTP)
    register(VLM_JUDGE)


# The clients are imported only when a run needs them; neither needs a device.


def _build_http(options: HttpOptions, _device: str) -> Scorer:
    from marble_reward_remote.http import connect

    return connect(options)


def _build_judge(options: JudgeOptions, _device: str) -> Scorer:
    from marble_reward_remote.judge import Judge

    return Judge(options)


HTTP = RewardSpec(
    name="http",
    summary="Whatever the server at `url` scores, such as `marble rewards serve NAME`.",
    build=_build_http,
    options=HttpOptions,
    optional_metadata=("*",),
    range=(-math.inf, math.inf),
)
VLM_JUDGE = RewardSpec(
    name="vlm-judge",
    summary="A vision-language model's mark from 1 to 5, over 5 (UnifiedReward's question).",
    build=_build_judge,
    options=JudgeOptions,
)
