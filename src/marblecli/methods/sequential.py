"""One reward after the other, in turn."""

from __future__ import annotations

from pydantic import PositiveInt

from marblecli.methods.method import Method, MethodSpec, State, Statistics
from marblecli.methods.single import follow
from marblecli.plugins import NoOptions
from marblecli.types import Balance


class SequentialOptions(NoOptions):
    """Options of the method ``sequential``."""

    stage_steps: PositiveInt = 100
    """Steps for which one reward is followed before the next one is."""


def build(options: SequentialOptions) -> Method:
    """The method that follows the recipe's rewards in their order, round and round."""

    def sequential(statistics: Statistics, state: State) -> tuple[Balance, State]:
        stage = (statistics.step - 1) // options.stage_steps
        reward = statistics.rewards[stage % len(statistics.rewards)]
        return follow(statistics, reward), state

    return sequential


SPEC = MethodSpec(
    name="sequential",
    summary="the gradient of each reward in turn",
    build=build,
    options=SequentialOptions,
)
