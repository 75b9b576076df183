from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from marblecli.errors import MarbleError
from marblecli.rewards.spec import RewardBatch
from marblecli.train.probe import batch_signals, probe

Opener = Callable[..., Any]
Runner = Callable[..., Any]


def weights_of(trainer: Any) -> dict[str, np.ndarray]:
    parameters = trainer.sampler.policies.trained_parameters().items()
    return {name: parameter.detach().numpy().copy() for name, parameter in parameters}


def constant(batch: RewardBatch) -> np.ndarray:
    return np.ones(len(batch.images))


def not_a_number(batch: RewardBatch) -> np.ndarray:
    return np.full(len(batch.images), np.nan)


def test_the_first_batch_is_the_first_one_of_training(open_tiny: Opener, run_tiny: Runner) -> None:
    recorded, _ = run_tiny()
    (probed,) = probe(open_tiny().sampler, 1)
    trained = recorded.conflicts[0]
    assert probed.record.step == 1
    assert np.array(probed.record.gram) == pytest.approx(np.array(trained.gram), rel=1e-4)
    assert probed.record.coefficients == pytest.approx(trained.coefficients, rel=1e-4)
    assert probed.record.cosines["applied"] == pytest.approx(trained.cosines["applied"], abs=1e-4)
    assert "update" not in probed.record.cosines
    assert probed.faults == ()


def test_nothing_is_ever_stepped(open_tiny: Opener) -> None:
    trainer = open_tiny()
    before = weights_of(trainer)
    first, second = probe(trainer.sampler, 2)
    for name, value in weights_of(trainer).items():
        assert np.array_equal(value, before[name]), name
    assert first.record.gram != second.record.gram
    # The trained policy is the old one, so there is no pull.
    assert second.record.part_grams is not None
    assert second.record.part_grams.pull == pytest.approx(0.0, abs=1e-20)


def test_batches_are_measured_as_the_recipe_says(open_tiny: Opener) -> None:
    trainer = open_tiny({"measure.slices_every": 1, "measure.fresh_every": 2})
    first, second = probe(trainer.sampler, 2)
    assert {"source scenes", "source letters"} <= first.record.slices.keys()
    assert (first.record.fresh is None, second.record.fresh is None) == (True, False)
    assert first.record.parts is not None


def test_a_recipe_of_single_backward_passes_has_no_parts(open_tiny: Opener) -> None:
    (probed,) = probe(open_tiny({"training.gradients": "backward"}).sampler, 1)
    assert probed.record.parts is None


def test_the_balance_remembers_the_batches_before(open_tiny: Opener) -> None:
    forgetful, remembering = (
        list(probe(open_tiny({"balance.memory": memory}).sampler, 2)) for memory in (0.0, 0.9)
    )
    assert forgetful[0].record.coefficients == pytest.approx(remembering[0].record.coefficients)
    assert forgetful[1].record.coefficients != pytest.approx(remembering[1].record.coefficients)


def test_the_gradients_of_the_batches_before_are_remembered(open_tiny: Opener) -> None:
    trainer = open_tiny({"balance.method": "noise-aware"})
    signals = [found.record.signal for found in probe(trainer.sampler, 2)]
    assert [signal is None for signal in signals] == [True, False]


def test_a_reward_that_fails_is_reported_and_masked(open_tiny: Opener) -> None:
    (probed,) = probe(open_tiny(faulty={"red": not_a_number}).sampler, 1)
    assert probed.record.valid == (6, 0, 3)
    (fault,) = probed.faults
    assert fault.startswith("red: ")


def test_a_batch_without_a_usable_gradient_is_an_error(open_tiny: Opener) -> None:
    faulty = dict.fromkeys(("bright", "red", "contrast"), constant)
    with pytest.raises(MarbleError, match="step 1: no reward has a usable gradient"):
        list(probe(open_tiny(faulty=faulty).sampler, 1))


def test_a_batch_keeps_a_sketch_by_which_batches_are_compared(open_tiny: Opener) -> None:
    """The tiny adapters have few enough elements that a sketch keeps products as they are."""
    sampler = open_tiny({"measure.slices_every": 1}).sampler
    first, second = probe(sampler, 2)
    assert first.signal is not None
    assert second.signal is not None
    assert first.signal @ first.signal.T == pytest.approx(np.array(first.record.gram), rel=1e-3)
    alone = list(batch_signals(sampler, sampler.recipe, 2))
    assert alone[0] @ alone[1].T == pytest.approx(first.signal @ second.signal.T, rel=1e-2)
    by_level = sum(first.level_signals.values())
    assert by_level == pytest.approx(first.signal, rel=1e-3, abs=1e-6)


def test_another_geometry_is_run_by_the_same_model(open_tiny: Opener) -> None:
    sampler = open_tiny().sampler
    training = sampler.recipe.training.model_copy(update={"noise_levels": 1})
    other = sampler.recipe.model_copy(update={"training": training})
    (own,), (one_row,) = (list(batch_signals(sampler, each, 1)) for each in (sampler.recipe, other))
    assert own.shape == one_row.shape
    assert own != pytest.approx(one_row)


def test_a_method_that_measures_only_a_part_of_the_batch_has_no_sketch(open_tiny: Opener) -> None:
    (probed,) = probe(open_tiny({"balance.method": "marble-published"}).sampler, 1)
    assert probed.signal is None
    assert not probed.level_signals
