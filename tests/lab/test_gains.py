from __future__ import annotations

import numpy as np
import pytest

from marblecli.errors import BadInputError
from marblecli.lab.gains import draw, gains_of
from support.lab import evaluation

RNG = np.random.default_rng


def pair(gain: float, seed: int = 0, prompts: int = 2) -> tuple[object, object]:
    base = [[0.5, 0.25] for _ in range(prompts)]
    after = [[score + gain for score in row] for row in base]
    return (
        evaluation(0, {"a": base, "b": [[None, None], *base[1:]]}, seed),
        evaluation(9, {"a": after, "b": [[None, None], *after[1:]]}, seed),
    )


def test_a_gain_is_the_mean_over_pairs_of_images() -> None:
    gains = gains_of({3: pair(0.25, 3), 4: pair(0.75, 4)}, ("a", "b", "none"), "held-out")
    assert gains.seeds == (3, 4)
    np.testing.assert_allclose(gains.means, [0.5, 0.5, np.nan])
    np.testing.assert_allclose(gains.by_seed, [[0.25, 0.75], [0.25, 0.75], [np.nan, np.nan]])
    np.testing.assert_allclose(gains.counts[:, 0], [[2, 2], [0, 2], [0, 0]])
    np.testing.assert_allclose(gains.only([4]).means, [0.75, 0.75, np.nan])


def test_images_are_paired_and_not_only_their_means() -> None:
    """A prompt that only one evaluation has isn't counted."""
    first, second = evaluation(0, {"a": [[0.0], [1.0]]}), evaluation(1, {"a": [[0.5]]})
    assert gains_of({0: (first, second)}, ["a"], "held-out").means == pytest.approx([0.5])


def test_evaluations_of_different_seeds_arent_paired() -> None:
    with pytest.raises(BadInputError, match="different noise"):
        gains_of({0: (pair(0.1, 0)[0], pair(0.1, 1)[1])}, ["a"], "held-out")


def test_redrawn_means_vary_over_seeds_and_prompts() -> None:
    """All images of a seed gain the same, so that only the drawn seeds matter: means are 1/4, 1/2
    or 3/4, the middle one half of the time."""
    gains = gains_of({0: pair(0.25, 0), 1: pair(0.75, 1)}, ["a"], "held-out")
    drawn = gains.redrawn(draw(*gains.shape, RNG(0)))[:, 0]
    values, counts = np.unique(drawn.round(9), return_counts=True)
    np.testing.assert_allclose(values, [0.25, 0.5, 0.75])
    assert counts[1] / counts.sum() == pytest.approx(0.5, abs=0.04)


def test_intervals_cover_the_true_gain() -> None:
    """50 labs of 5 seeds and 20 prompts with deviations over both: 95 % intervals miss rarely."""
    missed = 0
    for trial in range(50):
        rng = RNG(trial)
        of_seed, of_prompt = rng.normal(size=5), rng.normal(size=20)
        pairs = {
            seed: (
                evaluation(0, {"a": [[0.0]] * 20}, seed),
                evaluation(
                    1,
                    {"a": [[1.0 + of_seed[seed] + each + rng.normal()] for each in of_prompt]},
                    seed,
                ),
            )
            for seed in range(5)
        }
        gains = gains_of(pairs, ["a"], "held-out")
        low, high = np.quantile(gains.redrawn(draw(*gains.shape, rng))[:, 0], [0.025, 0.975])
        missed += not low <= 1.0 <= high
    assert missed <= 10
