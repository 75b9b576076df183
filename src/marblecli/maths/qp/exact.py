"""The default solver: exact to rounding, not to a tolerance.

It finds the face of the hull by block principal pivoting and solves on it. Where rounding leaves
more than one answer, Wolfe's algorithm walks over the faces.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from marblecli.maths.qp.faces import even, polish
from marblecli.maths.qp.pivoting import RIDGES, by_pivoting
from marblecli.maths.qp.problem import ROUNDING, MinNormSolution, gram_scale, solve
from marblecli.maths.qp.wolfe import wolfe

if TYPE_CHECKING:
    from marblecli.types import FloatArray


def solve_min_norm(
    gram: FloatArray, floors: FloatArray | None = None, priorities: FloatArray | None = None
) -> MinNormSolution:
    """The simplex weights of least norm, exact to rounding; ties give the even mixture.

    ``gram`` [K, K]; ``floors`` [K], lower bounds of the weights with a sum below 1, or none;
    ``priorities`` [K] above 0, of which only the ratios matter, or none.

    Raises BadInputError if ``gram`` is no Gram matrix, or floors or priorities can't be met.
    Source: Wolfe 1976, sections 3 and 4; Júdice and Pires 1994, the block algorithm.
    """
    return solve(gram, floors, priorities, _candidates)


def _candidates(gram: FloatArray) -> Iterator[FloatArray]:
    """From the quickest to the surest."""
    if gram.diagonal().min() > 0.0:
        yield from by_pivoting(gram)
    gram = gram / gram_scale(gram)
    eigenvalues, eigenvectors = np.linalg.eigh(gram)
    eigenvalues[eigenvalues <= ROUNDING * eigenvalues[-1]] = 0.0
    ridged = wolfe(eigenvectors * np.sqrt(eigenvalues + RIDGES[0]))
    yield from polish(gram, even(ridged))
    yield from polish(gram, ridged)
    plain = wolfe(eigenvectors * np.sqrt(eigenvalues))
    yield from polish(gram, plain)
    yield plain
