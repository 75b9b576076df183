"""Which images and rows of a batch are worth training, and the weights that make up for the rest.

Shapes: N images in groups of equal prompts, K rewards, R rows, each an image at one noise level.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence

import numpy as np

from marblecli.types import BoolArray, FloatArray, IntArray

SIZE_FLOOR = 0.1
"""The size of a row without any signal, as a share of the root mean square of all sizes. Such rows
still carry the pull, and the weight of a drawn row is bounded by it."""


def in_constant_group(values: FloatArray, valid: BoolArray, groups: IntArray) -> BoolArray:
    """[N], whether an image is in a group in which no reward varies.

    ``values`` [N, K] are raw rewards, ``valid`` [N, K] says which of them count, and ``groups`` [N]
    is each image's group. All advantages of such a group are 0.
    """
    constant = np.zeros(len(groups), dtype=bool)
    for group in np.unique(groups):
        here = groups == group
        highest = np.where(valid[here], values[here], -np.inf).max(0)
        lowest = np.where(valid[here], values[here], np.inf).min(0)
        constant[here] = not (highest > lowest).any()
    return constant


def extremes(advantages: FloatArray, count: int, order: Iterable[int]) -> BoolArray:
    """[N], the ``count`` images of one group that are best or worst by some reward.

    ``advantages`` [N, K] are those of the group. The rewards take turns in this ``order``: each
    takes the best and then the worst of the images that are left, by its own advantages alone. A
    reward that doesn't vary in the group is passed over. So no sum over the rewards decides what
    is trained, and each has as many images that are best for it as worst.
    """
    varying = [reward for reward in order if np.ptp(advantages[:, reward]) > 0.0]
    left = list(range(len(advantages)))
    chosen = np.zeros(len(advantages), dtype=bool)
    signs = itertools.cycle(
        [(reward, sign) for reward in varying or [0] for sign in (1.0, -1.0)],
    )
    for reward, sign in itertools.islice(signs, min(count, len(left))):
        picked = max(left, key=lambda image: float(sign * advantages[image, reward]))
        chosen[picked] = True
        left.remove(picked)
    return chosen


def pull_factors(shares: FloatArray, kept: BoolArray) -> FloatArray:
    """[K], the sum of each reward's ``shares`` [N, K] over that of the ``kept`` [N] images.

    The kept images' pull times this estimates the pull of all images. It is 1 where no kept image
    has a share, because there is nothing to be multiplied.
    """
    whole, rest = shares.sum(0), shares[kept].sum(0)
    factors: FloatArray = np.divide(whole, rest, out=np.ones_like(whole), where=rest > 0.0)
    return factors


def row_sizes(signals: FloatArray) -> FloatArray:
    """[N], how large the cotangents of an image's rows are, over all rewards.

    ``signals`` [N, K] are m_ik / n_k (2 r_ik - 1), in proportion to which reward k's residual
    enters the network. Each reward's are divided by their root mean square, because the rewards'
    gradients are balanced as unit vectors, and the root mean square over the rewards is taken. It
    is at least :data:`SIZE_FLOOR`, and 1 everywhere if there is no signal at all.
    """
    squares = signals**2
    means = squares.mean(0)
    if not means.any():
        return np.ones(len(signals))
    relative = np.divide(squares, means, out=np.zeros_like(squares), where=means > 0.0)
    sizes: FloatArray = np.sqrt(relative.sum(1) / np.count_nonzero(means) + SIZE_FLOOR**2)
    return sizes


def inclusion_probabilities(sizes: FloatArray, count: int) -> FloatArray:
    """[R], in proportion to ``sizes`` [R] > 0 and at most 1, with the sum ``count`` <= R.

    Of all probabilities with this sum, they give the sum of drawn rows over their probabilities the
    least variance, if the rows are independent with second moments in proportion to the squares of
    ``sizes`` (Saerndal, Swensson and Wretman, Model Assisted Survey Sampling, section 3.6.1).
    """
    certain = np.zeros(len(sizes), dtype=bool)
    while True:
        rest = np.where(certain, 0.0, sizes)
        total = rest.sum()
        if total == 0.0:
            return certain.astype(np.float64)
        found = rest * ((count - certain.sum()) / total)
        above = found >= 1.0
        if not above.any():
            return np.where(certain, 1.0, found)
        certain |= above


def systematic_sample(probabilities: FloatArray, start: float) -> BoolArray:
    """[R], whether each row is drawn: with its probability, if ``start`` is uniform in [0, 1).

    The ``probabilities`` [R] are laid end to end, and a row is drawn if a mark, at ``start`` and at
    every whole number after it, falls on it. So as many rows are drawn as the probabilities' sum,
    and rows that stand together are drawn about as often as their sum says (Madow 1949, doi
    10.1214/aoms/1177729988).
    """
    ends = np.cumsum(probabilities)
    # Rounding must not lead across the whole number that the sum is.
    ends[-1] = np.rint(ends[-1])
    marks = np.ceil(ends - start)
    drawn: BoolArray = np.diff(marks, prepend=np.ceil(-start)) > 0.0
    return drawn


def at_least(kept: BoolArray, parts: Sequence[slice], count: int) -> BoolArray:
    """[N, T], ``kept`` [N, T] and more rows, until each process has ``count`` of them.

    ``parts`` are the images of each process; one with fewer rows keeps them all.
    """
    more = kept.copy()
    for part in parts:
        # A view: rows that are set here are set in the result.
        mine = more[part].reshape(-1)
        missing = max(count - int(mine.sum()), 0)
        mine[np.flatnonzero(~mine)[:missing]] = True
        more[part] = mine.reshape(more[part].shape)
    return more
