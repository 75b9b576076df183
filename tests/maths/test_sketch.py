from __future__ import annotations

import numpy as np
import pytest
import torch

from marblecli.maths.gram import gram_matrix
from marblecli.maths.sketch import sketch


def blocks(seed: int, sides: tuple[int, ...] = (4, 30)) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *shape, generator=generator) + 0.2 for shape in (sides, (7,), (2, 3, 2))]


def sketched(vectors: list[torch.Tensor], size: int) -> np.ndarray:
    return sketch(vectors, torch.Generator().manual_seed(5), size)


def test_few_elements_keep_their_products_exactly() -> None:
    one = blocks(0)
    found = sketched(one, 200)
    np.testing.assert_allclose(found @ found.T, gram_matrix(one), rtol=1e-5, atol=1e-5)


def test_products_of_long_vectors_are_near_and_unbiased() -> None:
    one = blocks(1, (40, 500))
    gram = gram_matrix(one)
    lengths = np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    errors = []
    for seed in range(30):
        found = sketch(one, torch.Generator().manual_seed(seed), 400)
        errors.append((found @ found.T - gram) / lengths)
    # 1 / sqrt(400) is .05 for different vectors, and sqrt(2) times that for equal ones.
    assert np.std(errors) < 0.1
    assert abs(np.mean(errors)) < 0.02


def test_the_sketch_of_a_sum_is_the_sum_of_sketches() -> None:
    one, two = blocks(2, (9, 50)), blocks(3, (9, 50))
    both = [a + b for a, b in zip(one, two, strict=True)]
    np.testing.assert_allclose(sketched(both, 64), sketched(one, 64) + sketched(two, 64), atol=1e-4)


def test_nothing_has_no_sketch() -> None:
    with pytest.raises(ValueError, match="no blocks"):
        sketched([], 8)
