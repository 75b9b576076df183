from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from grams import high_dimensional, unit_gram
from marblecli.errors import BadInputError, MarbleError
from marblecli.maths.qp.exact import solve_min_norm
from marblecli.methods.torchjd import WEIGHTINGS, build_weighting, torchjd_weights

CONFLICT = np.array([[1.0, -0.5], [-0.5, 1.0]])
ORTHOGONAL = np.eye(3)


@pytest.mark.parametrize(
    ("name", "weights"),
    [
        # Each is projected onto the other's normal plane: g_1 + g_2 / 2, and the same mirrored.
        ("pcgrad", [1.5, 1.5]),
        # The same projections of g / 2, and the mean of the two; a ridge of 1e-4 is in it.
        ("upgrad", [0.75, 0.75]),
        ("dualproj", [0.5, 0.5]),
        # Gw = w / 2 is 1 / w, and with FairGrad's alpha = 2 the root of that.
        ("nash-mtl", [2**0.5, 2**0.5]),
        ("fairgrad", [2 ** (2 / 3), 2 ** (2 / 3)]),
        ("mgda", [0.5, 0.5]),
        ("imtl-g", [0.5, 0.5]),
        # 1/2 (1 + c), as the two are alike.
        ("cagrad", [0.75, 0.75]),
    ],
)
def test_two_in_conflict_worked_by_hand(name, weights):
    assert torchjd_weights(name, CONFLICT, seed=0) == pytest.approx(weights, rel=2e-3)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_orthogonal_gradients_weigh_alike(name):
    weights = torchjd_weights(name, ORTHOGONAL, seed=0)
    assert weights / weights.sum() == pytest.approx([1 / 3] * 3, abs=1e-3)


def test_mgda_comes_near_ours_and_no_nearer():
    gram = unit_gram(high_dimensional(np.random.default_rng(1), 5))
    theirs = torchjd_weights("mgda", gram, seed=0)
    best = solve_min_norm(gram).squared_norm
    assert best <= theirs @ gram @ theirs <= best + 1e-2


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_the_seed_decides_and_torch_s_own_generator_is_left_alone(name):
    gram = unit_gram(np.random.default_rng(2).normal(size=(5, 3)))
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    first = torchjd_weights(name, gram, seed=11)
    assert torch.rand(3).tolist() == expected.tolist()
    assert torchjd_weights(name, gram, seed=11).tolist() == first.tolist()


def test_pcgrad_s_order_is_drawn_from_the_seed():
    gram = unit_gram(np.random.default_rng(2).normal(size=(5, 3)))
    drawn = {tuple(torchjd_weights("pcgrad", gram, seed).tolist()) for seed in range(8)}
    assert len(drawn) > 1


def test_without_torchjd_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd", None)
    with pytest.raises(BadInputError, match=r"pip install 'marblecli\[torchjd\]'") as caught:
        build_weighting("imtl-g")
    assert "\n" not in str(caught.value)


def test_without_its_qp_solver_one_line_says_how_to_get_it(monkeypatch):
    import torchjd._mixins

    monkeypatch.setattr(torchjd._mixins, "find_spec", lambda name: None)
    with pytest.raises(BadInputError, match=r"torchjd:upgrad needs .*pip install"):
        build_weighting("upgrad")


def test_what_torchjd_raises_is_one_line(monkeypatch):
    class Refuses:
        def __call__(self, gram):
            raise ValueError("no\nsolution")

    monkeypatch.setattr("marblecli.methods.torchjd.build_weighting", lambda name: Refuses())
    with pytest.raises(MarbleError, match="torchjd:upgrad failed on this batch: no solution"):
        torchjd_weights("upgrad", CONFLICT, seed=0)


def test_weights_that_are_no_numbers_are_refused(monkeypatch):
    monkeypatch.setattr(
        "marblecli.methods.torchjd.build_weighting",
        lambda name: lambda gram: gram.diagonal() * torch.nan,
    )
    with pytest.raises(MarbleError, match="torchjd:upgrad gave weights that are not finite"):
        torchjd_weights("upgrad", CONFLICT, seed=0)
