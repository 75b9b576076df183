"""One loss of summed advantages, which several methods step in place of the K losses."""

from __future__ import annotations

import numpy as np

from marblecli.errors import MarbleError
from marblecli.maths.advantages import optimality_probability
from marblecli.methods.method import LossInputs, LossTargets, Statistics
from marblecli.types import ScoreStats


def summed_targets(inputs: LossInputs) -> LossTargets:
    """One loss over all N images, whose advantages are sum_k c_k A_ik, clipped.

    The K losses are means over the n_k images that the reward applies to, and this one is a mean
    over all N. So coefficients_k = c_k n_k / N: the signal of this loss is then that of
    sum_k coefficients_k L_k, as long as no advantage is clipped.
    """
    combined = (inputs.advantages * inputs.shares * inputs.images) @ inputs.coefficients
    return LossTargets(
        optimality=optimality_probability(combined, inputs.clip),
        shares=np.full(len(combined), 1.0 / inputs.images),
    )


def needed_scores(statistics: Statistics, method: str) -> ScoreStats:
    """What the batch's scores say. Raises MarbleError, in one line, if they aren't known."""
    if statistics.scores is None:
        raise MarbleError(f"{method} needs the batch's scores, and only its gradients are known")
    return statistics.scores
