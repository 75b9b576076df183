"""How sure a batch's gradients are: the signal, which all batches share, and the noise around it.

Two independent batches of one policy have only the signal in common. So the inner product of their
gradients is an unbiased estimate of the signal's squared norm, and what a gradient's own squared
norm has beyond it is noise. The two halves of one batch are such a pair, too, each with half of the
signal.

Errors are the jackknife's (Efron 1982): the estimate is made again without each batch in turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from marblecli.types import FloatArray, IntArray, PartGrams


def batch_products(vectors: FloatArray) -> FloatArray:
    """[K, B, B], the inner products of each reward's vectors in B batches, from [B, K, P]."""
    by_reward = vectors.swapaxes(0, 1)
    products: FloatArray = by_reward @ by_reward.swapaxes(1, 2)
    return products


def squared_signal_to_noise(products: FloatArray) -> FloatArray:
    """[K], the squared signal-to-noise ratio of one batch's gradient of each reward.

    ``products`` [K, B, B] are the inner products of each reward's gradients of B batches. The mean
    product of different ones is the signal's squared norm. A gradient that is zero, because nothing
    was scored, is left out. The estimate is unbiased in numerator and denominator, so a reward
    without any signal may have a value below 0. NaN where fewer than two batches have a gradient.
    """
    own = np.trace(products, axis1=1, axis2=2)
    count = np.count_nonzero(np.diagonal(products, axis1=1, axis2=2), axis=1).astype(np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        signal = (products.sum((1, 2)) - own) / (count * (count - 1))
        ratio: FloatArray = signal / (own / count - signal)
    return np.where(count > 1, ratio, np.nan)


def halves_signal_to_noise(parts: Sequence[PartGrams]) -> FloatArray:
    """[K], the same from the two halves of each batch, without products between batches.

    With a and b the signals of the halves, <a, b> is a quarter of the signal's squared norm on
    average, and |a|^2 + |b|^2 - 2 <a, b> is the noise of the whole batch. Halves of unequal size
    have less than a quarter: at one to two, 2/9. The halves have no prompt in common, while batches
    that are drawn from few prompts have: then those count what is learnt prompt by prompt as
    signal, and halves count it as noise.
    """
    cross = np.sum([np.diag(each.cross) for each in parts], axis=0)
    own = np.sum([np.diag(each.first) + np.diag(each.second) for each in parts], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: FloatArray = 4.0 * cross / (own - 2.0 * cross)
    return np.where(own > 0.0, ratio, np.nan)


def left_out(estimate: Callable[[IntArray], float], count: int) -> FloatArray:
    """[B], what ``estimate`` finds in all of ``count`` batches but one, for each of them."""
    batches = np.arange(count)
    return np.array([estimate(np.delete(batches, out)) for out in batches])


def jackknife_error(without: FloatArray) -> float:
    """The standard error of an estimate, from its values [B] without each batch."""
    count = len(without)
    return float(np.sqrt((count - 1) * np.var(without)))


def jackknife(products: FloatArray, passes: float) -> tuple[float, float]:
    """The mean over rewards of the squared ratio of a pass, and its error over batches.

    ``products`` are as in :func:`squared_signal_to_noise`; ``passes`` are the forward passes that
    the batch takes for each image.
    """

    def per_pass(batches: IntArray) -> float:
        return mean_ratio(squared_signal_to_noise(products[:, batches][:, :, batches])) / passes

    count = products.shape[1]
    return per_pass(np.arange(count)), jackknife_error(left_out(per_pass, count))


def mean_ratio(ratios: FloatArray) -> float:
    """The mean over the rewards that have a ratio; NaN if none has."""
    known = ratios[~np.isnan(ratios)]
    return float(known.mean()) if len(known) else float("nan")
