"""The weighted sum of the raw rewards: the usual practice.

The rewards are summed first, and the sum is normalised like a single reward: centred by group, and
divided by its standard deviation over the batch (DiffusionNFT, arXiv 2509.16117, section 3). The
reward with the largest spread leads.
"""

from __future__ import annotations

from marblecli.errors import MarbleError
from marblecli.maths.advantages import STD_OFFSET
from marblecli.maths.scores import deviation_of_sum
from marblecli.methods.advantage_sum import needed_scores, summed_targets
from marblecli.methods.method import MethodSpec, Needs, State, Statistics, loss_mixture
from marblecli.types import Balance


def raw_sum(statistics: Statistics, state: State) -> tuple[Balance, State]:
    """The advantages of sum_k w_k R_ik: c_k = w_k (sigma_k + 1e-4) / (std of the sum + 1e-4).

    w are the recipe's weights. A reward that doesn't apply to an image adds nothing to its sum.
    Raises MarbleError if the scores aren't known, or advantages were normalised group by group.
    """
    scores = needed_scores(statistics, SPEC.name)
    if scores.scales is None:
        raise MarbleError(f'{SPEC.name} needs training.advantage_scale = "batch"')
    weights = statistics.loss_weights
    deviation = deviation_of_sum(scores.rewards, weights) + STD_OFFSET
    coefficients = weights * scores.scales / deviation * scores.coverage
    return loss_mixture(coefficients, statistics.norms), state


SPEC = MethodSpec(
    name="raw-sum",
    summary="the gradient of the weighted sum of raw rewards, normalised once: the usual practice",
    build=lambda _options: raw_sum,
    needs=Needs(scores=True, batch_scale=True),
    targets=summed_targets,
)
