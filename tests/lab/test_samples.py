from __future__ import annotations

import numpy as np

from marblecli.lab.samples import sample_figure
from support.lab import evaluation


def test_what_varies_within_a_prompt_teaches_a_reward() -> None:
    """``a`` varies in the first prompt alone, and ``b`` doesn't apply to the second."""
    base = evaluation(
        0, {"a": [[0.0, 1.0], [0.5, 0.5]], "b": [[0.25, 0.25], [None, None]]}, split="train"
    )
    figure = sample_figure([base], ("a", "b"))
    assert figure is not None
    assert figure.sources == ("even", "odd")
    # The deviation of a over the batch is the square root of 1/8.
    np.testing.assert_allclose(
        figure.strength, [[0.5 / np.sqrt(0.125), 0.0], [0.0, np.nan]], rtol=1e-3
    )
    np.testing.assert_allclose(figure.specialists, [0.5, 0.0])
    assert (figure.generalists, figure.silent, figure.images) == (0.0, 0.5, 4)


def test_an_image_that_says_much_about_two_rewards_is_a_specialist_of_neither() -> None:
    base = evaluation(0, {"a": [[0.0, 1.0]], "b": [[1.0, 0.0]]}, split="train")
    figure = sample_figure([base], ("a", "b"))
    assert figure is not None
    np.testing.assert_allclose(figure.specialists, [0.0, 0.0])
    # The offset keeps an advantage of exactly one deviation just below it.
    assert figure.generalists + figure.silent == 1.0


def test_one_image_a_prompt_has_no_advantage() -> None:
    assert sample_figure([evaluation(0, {"a": [[0.0], [1.0]]}, split="train")], ("a",)) is None
    assert sample_figure([evaluation(0, {"a": [[0.0], [1.0]]})], ("a",)) is None
