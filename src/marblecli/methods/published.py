"""The coefficients as the published MARBLE code makes them, to be compared with.

Source: MARBLE, arXiv 2605.06507, its public code: SLSQP on the unit gradients' Gram, whatever it
returns clipped, and a moving average of the weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from marblecli.types import FloatArray

AVERAGE_DECAY = 0.7
"""What the earlier weights count in the published moving average."""
_TOLERANCE = 1e-8


def slsqp_weights(gram: FloatArray) -> FloatArray:
    """[K], what scipy's SLSQP makes of the min-norm problem of ``gram`` [K, K], from even weights.

    Clipped and renormalised, also where it failed; :func:`~marblecli.maths.qp.simplex_qp.certify`
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
    """[K], 0.7 of ``previous`` and 0.3 of ``current``, both [K]; ``current`` where there is none.

    ``previous`` need not sum to 1: a reward that was usable then may be missing now.
    """
    if previous is None or previous.sum() <= 0.0:
        return current
    blended: FloatArray = (
        AVERAGE_DECAY * previous / previous.sum() + (1.0 - AVERAGE_DECAY) * current
    )
    return blended
