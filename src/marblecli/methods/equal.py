"""Every unit gradient alike: the baseline to beat."""

from __future__ import annotations

import numpy as np

from marblecli.methods.method import MethodSpec, State, Statistics, unit_mixture
from marblecli.types import Balance


def equal(statistics: Statistics, state: State) -> tuple[Balance, State]:
    """The mean of the unit gradients, at the mean gradient's length."""
    count = len(statistics.norms)
    return unit_mixture(np.full(count, 1.0 / count), statistics.norms), state


SPEC = MethodSpec(
    name="equal",
    summary="the mean of the unit gradients, at the mean gradient's length",
    build=lambda _options: equal,
)
