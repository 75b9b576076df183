"""One reward's loss alone."""

from __future__ import annotations

import numpy as np

from marblecli.errors import MarbleError
from marblecli.methods.method import Method, MethodSpec, State, Statistics
from marblecli.plugins import NoOptions
from marblecli.types import Balance


class SingleOptions(NoOptions):
    """Options of the method ``single``."""

    reward: str
    """The reward that is followed."""


def follow(statistics: Statistics, reward: str) -> Balance:
    """The gradient of one reward, as long as it is. Raises MarbleError if it isn't usable."""
    if reward not in statistics.names:
        raise MarbleError(f"{reward} has no usable gradient in this batch")
    alone = np.array([float(name == reward) for name in statistics.names])
    return Balance(alone, alone, kkt_residual=0.0)


def build(options: SingleOptions) -> Method:
    """The method that follows ``options.reward``."""

    def single(statistics: Statistics, state: State) -> tuple[Balance, State]:
        return follow(statistics, options.reward), state

    return single


SPEC = MethodSpec(
    name="single",
    summary="the gradient of one reward",
    build=build,
    options=SingleOptions,
    shorthand="reward",
    named_rewards=lambda options: {"reward": (options.reward,)},
)
