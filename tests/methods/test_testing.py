"""Every method of ours keeps the contract, and the kit notices one that doesn't."""

from __future__ import annotations

import numpy as np
import pytest

from marblecli.errors import MarbleError
from marblecli.methods import Balance, MethodSpec, unit_mixture
from marblecli.methods.testing import check_method, drawn_statistics
from support.methods import METHODS

OPTIONS = {"single": {"reward": "beta"}, "sequential": {"stage_steps": 2}}


@pytest.mark.parametrize("name", METHODS)
def test_ours_keep_the_contract(name):
    assert check_method(name, OPTIONS.get(name)) == []


def even(statistics, state):
    return unit_mixture(np.full(len(statistics.norms), 1 / len(statistics.norms)), statistics.norms)


def broken(change):
    def method(statistics, state):
        return change(statistics, even(statistics, state)), state

    return MethodSpec("mine", "broken", lambda _options: method)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s, b: None, "which is no Balance"),
        (
            lambda s, b: Balance(b.simplex_weights, b.coefficients[:1], 0.0),
            "coefficients has shape",
        ),
        (lambda s, b: Balance(b.simplex_weights * np.nan, b.coefficients, 0.0), "is not finite"),
        (lambda s, b: Balance(b.coefficients, b.coefficients * 3, 0.0), "aren't what"),
    ],
)
def test_a_wrong_combination_is_named(change, message):
    faults = check_method(broken(change))
    assert faults
    assert message in faults[0]


def test_a_method_that_draws_is_named():
    rng = np.random.default_rng(0)

    def fickle(statistics, state):
        weights = rng.dirichlet(np.ones(len(statistics.norms)))
        return unit_mixture(weights, statistics.norms), state

    faults = check_method(MethodSpec("mine", "", lambda _options: fickle))
    assert any("another combination the second time" in fault for fault in faults)


def test_a_state_that_no_checkpoint_can_hold_is_named():
    def keeps(statistics, state):
        return even(statistics, state), np.ones(3)

    faults = check_method(MethodSpec("mine", "", lambda _options: keeps))
    assert any("can't be stored as JSON" in fault for fault in faults)


def test_a_method_may_refuse_a_batch_in_one_line():
    def refuses(statistics, state):
        if len(statistics.names) == 1:
            raise MarbleError("two gradients are needed")
        return even(statistics, state), state

    assert check_method(MethodSpec("mine", "", lambda _options: refuses)) == []


def test_drawn_batches_are_grams_of_unit_gradients():
    statistics = drawn_statistics(("a", "b", "c"), 1)
    assert np.diag(statistics.unit_gram) == pytest.approx(np.ones(3))
    assert np.linalg.eigvalsh(statistics.unit_gram).min() > 0.0
    assert statistics.parts is not None
    whole = statistics.parts.signal + statistics.parts.pull
    whole = whole + statistics.parts.signal_pull + statistics.parts.signal_pull.T
    assert np.sqrt(np.diag(whole)) == pytest.approx(statistics.norms)
