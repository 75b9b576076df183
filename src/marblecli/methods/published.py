"""The published MARBLE code's behaviour, to be compared with.

Source: MARBLE, arXiv 2605.06507, its public code: SLSQP on the unit gradients' Gram of the first
micro-batch, whatever it returns clipped; a moving average of the weights; and one loss, for which
the advantages are summed with the raw weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from marblecli.maths.advantages import optimality_probability
from marblecli.maths.qp.problem import certify
from marblecli.methods.advantage_sum import needed_scores
from marblecli.methods.method import (
    LossInputs,
    LossTargets,
    Method,
    MethodSpec,
    Needs,
    State,
    Statistics,
    loss_mixture,
    unit_mixture,
)
from marblecli.plugins import NoOptions
from marblecli.types import Balance, FloatArray

AVERAGE_DECAY = 0.7
"""What the earlier weights count in the published moving average."""
_TOLERANCE = 1e-8


class PublishedOptions(NoOptions):
    """Options of the method ``marble-published``: two of its faults, which may be left out."""

    raw_weights: bool = True
    """Put the weights of the unit gradients on the losses as they are. ``false`` divides them by
    the gradients' norms, and multiplies them by their mean."""
    inapplicable_as_zero: bool = True
    """Count an image that a reward doesn't apply to as one with an advantage of 0, so that a reward
    of few images is diluted. ``false`` takes each reward's mean over its own images."""


def build(options: PublishedOptions) -> Method:
    """The method with the faults that the options leave in it."""

    def published(statistics: Statistics, state: State) -> tuple[Balance, State]:
        """Weights solved for unit gradients, averaged over batches, on one loss.

        Raises MarbleError if the scores are needed and not known.
        """
        earlier = None if state is None else state["average"]
        previous = None
        if earlier is not None:
            previous = np.array([earlier.get(name, 0.0) for name in statistics.names])
        weights = average_weights(previous, slsqp_weights(statistics.unit_gram))
        residual = certify(statistics.unit_gram, weights).kkt_residual
        coefficients = weights
        if not options.raw_weights:
            coefficients = unit_mixture(weights, statistics.norms).coefficients
        if not options.inapplicable_as_zero:
            # The one loss is a mean over all images: this undoes the share of a reward's own.
            coefficients = coefficients / needed_scores(statistics, SPEC.name).coverage
        left = to_state(statistics.names, weights.tolist())
        return loss_mixture(coefficients, statistics.norms, residual), left

    return published


def to_state(names: Sequence[str], average: Sequence[float]) -> State:
    """What the method remembers: the average weight of each reward."""
    return {"average": dict(zip(names, average, strict=True))}


def published_targets(inputs: LossInputs) -> LossTargets:
    """One loss over all images: the advantages' weighted sum, clipped.

    A reward that doesn't apply counts as an advantage of 0.
    """
    combined = inputs.advantages @ inputs.coefficients
    return LossTargets(
        optimality=optimality_probability(combined, inputs.clip),
        shares=np.full(len(combined), 1.0 / inputs.images),
    )


def slsqp_weights(gram: FloatArray) -> FloatArray:
    """[U], what scipy's SLSQP makes of the min-norm problem of ``gram`` [U, U], from even weights.

    Clipped and renormalised, also where it failed; :func:`~marblecli.maths.qp.problem.certify`
    says how far it is from optimal.
    """
    from scipy.optimize import minimize

    ones = np.ones(len(gram))
    # Any, as scipy's stubs know neither its dictionaries of constraints nor those of options.
    problem: dict[str, Any] = {
        "jac": lambda weights: 2.0 * (gram @ weights),
        "bounds": [(0.0, 1.0)] * len(gram),
        "constraints": {"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda _: ones},
        "options": {"ftol": _TOLERANCE},
    }

    def square(weights: FloatArray) -> float:
        return float(weights @ gram @ weights)

    found = minimize(square, ones / len(gram), method="SLSQP", **problem)
    clipped = np.maximum(np.nan_to_num(found.x), 0.0)
    total = float(clipped.sum())
    return clipped / total if total > 0.0 else ones / len(gram)


def average_weights(previous: FloatArray | None, current: FloatArray) -> FloatArray:
    """[U], 0.7 of ``previous`` and 0.3 of ``current``, both [U]; ``current`` where there is none.

    ``previous`` need not sum to 1: a reward that was usable then may be missing now.
    """
    if previous is None or previous.sum() <= 0.0:
        return current
    blended: FloatArray = (
        AVERAGE_DECAY * previous / previous.sum() + (1.0 - AVERAGE_DECAY) * current
    )
    return blended


SPEC = MethodSpec(
    name="marble-published",
    summary="what the published code does, to compare with",
    build=build,
    options=PublishedOptions,
    # One micro-batch can't be sharded: all processes would need a part of it.
    needs=Needs(rows="head", sharded=False),
    targets=published_targets,
)
