"""The sum of the losses by the recipe's weights."""

from __future__ import annotations

from marblecli.errors import MarbleError
from marblecli.methods.method import MethodSpec, State, Statistics, loss_mixture
from marblecli.types import Balance


def weighted_sum(statistics: Statistics, state: State) -> tuple[Balance, State]:
    """The recipe's weights on the raw losses, divided by their sum over the usable rewards.

    Raises MarbleError if no usable reward has a weight above 0.
    """
    total = statistics.loss_weights.sum()
    if total <= 0.0:
        raise MarbleError("no reward with a usable gradient has a weight above 0")
    return loss_mixture(statistics.loss_weights / total, statistics.norms), state


SPEC = MethodSpec(
    name="weighted-sum",
    summary="the gradient of the sum of all losses, each with its reward's weight",
    build=lambda _options: weighted_sum,
)
