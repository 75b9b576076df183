"""Load a recipe's reward on the device that the recipe names."""

from __future__ import annotations

import torch

from marblecli.errors import BadInputError, one_of
from marblecli.rewards.host import RewardCatalog
from marblecli.rewards.lane import ActiveReward
from marblecli.rewards.spec import MovableScorer
from marblecli.settings import EvalRewardSettings


def activate(
    catalog: RewardCatalog, name: str, settings: EvalRewardSettings, device: str
) -> ActiveReward:
    """Load the reward. ``device`` is the run's, named as torch names it.

    Raises BadInputError for settings that this machine or the reward can't meet, and MarbleError if
    the reward can't be loaded.
    """
    offload = settings.device == "offload"
    wanted = "cpu" if offload else settings.device or device
    if wanted != device:
        _check_device(name, wanted)
    scorer = catalog.build(name, settings.options, wanted)
    if offload and not isinstance(scorer, MovableScorer):
        raise BadInputError(
            f"rewards.{name}.device: 'offload' needs a reward whose weights can be moved, and "
            f"{name!r} has no method to(device); choose cpu or cuda"
        )
    return ActiveReward(
        spec=catalog.get(name).spec,
        scorer=scorer,
        sources=settings.sources,
        batch_size=settings.batch_size,
        timeout=settings.timeout,
        scale=settings.scale,
        offload_from=device if offload and device != "cpu" else None,
    )


def _check_device(name: str, wanted: str) -> None:
    kind, _, index = wanted.partition(":")
    if kind == "cpu":
        return
    backends = {"cuda": torch.cuda, "mps": torch.mps}
    count = backends[kind].device_count() if kind in backends else 0
    if int(index or 0) >= count:
        there = ["cpu", *(f"cuda:{number}" for number in range(torch.cuda.device_count()))]
        raise BadInputError(
            f"rewards.{name}.device: there is no {wanted} on this machine; choose from "
            f"{one_of(there)}"
        )
