"""GDPO: every reward is normalised by itself, then their sum is normalised over the batch.

Source: GDPO (Group reward-Decoupled Normalization Policy Optimization), arXiv 2601.05242. There a
reward's own normalisation is by group; here it is ``training.advantage_scale``'s.
"""

from __future__ import annotations

from marblecli.maths.advantages import STD_OFFSET
from marblecli.maths.scores import deviation_of_sum
from marblecli.methods.advantage_sum import needed_scores, summed_targets
from marblecli.methods.method import MethodSpec, Needs, State, Statistics, loss_mixture
from marblecli.types import Balance


def gdpo(statistics: Statistics, state: State) -> tuple[Balance, State]:
    """The advantages of sum_k w_k A_ik: c_k = w_k / (std of the sum + 1e-4).

    w are the recipe's weights. The sum's mean over the batch is 0, as every group's is.
    Raises MarbleError if the scores aren't known.
    """
    scores = needed_scores(statistics, SPEC.name)
    weights = statistics.loss_weights
    deviation = deviation_of_sum(scores.advantages, weights) + STD_OFFSET
    return loss_mixture(weights / deviation * scores.coverage, statistics.norms), state


SPEC = MethodSpec(
    name="gdpo",
    summary="the gradient of the weighted sum of advantages, normalised once more over the batch",
    build=lambda _options: gdpo,
    needs=Needs(scores=True),
    targets=summed_targets,
)
