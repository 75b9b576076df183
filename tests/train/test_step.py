"""The loop and the probe get the direction of a batch from the same function."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from marblecli.engine.reduction import Reduction
from marblecli.errors import LostProcessError, MarbleError
from marblecli.methods.host import own_methods
from marblecli.train.levels import UNMEASURED
from marblecli.train.loop import Progress, train_step
from marblecli.train.probe import probe
from marblecli.train.step import Carried, find_direction, fresh_gradients
from marblecli.train.trainer import Trainer

Opener = Callable[..., Trainer]

OPTIONS: dict[str, dict[str, Any]] = {
    "single": {"balance.reward": "red"},
    "sequential": {"balance.stage_steps": 1},
}
EVERY_METHOD = [one.spec.name for one in own_methods()]


@pytest.mark.parametrize("method", EVERY_METHOD)
def test_a_probe_probes_what_training_does(method: str, open_tiny: Opener, recorded: Any) -> None:
    """The first batch of a run and of a probe have the same record, but for the update."""
    overrides = {
        **OPTIONS.get(method, {}),
        "balance.method": method,
        "training.micro_batch_size": 2,
        "measure.slices_every": 1,
    }
    train_step(open_tiny(overrides), recorded, Progress())
    (probed,) = probe(open_tiny(overrides).sampler, 1)
    (trained,) = recorded.conflicts
    for name in ("gram", "norms", "coefficients", "simplex_weights", "valid", "slices"):
        assert getattr(probed.record, name) == getattr(trained, name), name
    for name in ("applied", "weighted-sum"):
        assert probed.record.cosines[name] == pytest.approx(trained.cosines[name], abs=1e-6)
    assert set(trained.cosines) - set(probed.record.cosines) == {"update"}


@pytest.mark.parametrize("method", ["raw-sum", "gdpo"])
def test_the_loss_of_summed_advantages_steps_the_recorded_combination(
    method: str, open_tiny: Opener
) -> None:
    """At the first step, where there is no pull; one of the rewards applies to half of the images.

    So the gradient of the one loss is that of the K losses with the recorded coefficients.
    """
    found = find_direction(open_tiny({"balance.method": method}).sampler, 1, Carried())
    assert found.measured is not None
    assert found.measured.valid == (6, 6, 3)
    expected = found.measured.direction()
    scale = max(part.abs().max() for part in expected)
    for one, other in zip(found.gradient, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4 * float(scale))


def test_halves_of_levels_are_measured_and_recorded(open_tiny: Opener) -> None:
    """The two halves of the images' levels together are the signal that halves of prompts make."""
    plain, halved = (
        next(probe(open_tiny({"measure.halves": halves}).sampler, 1)).record
        for halves in ("prompts", "levels")
    )
    assert (plain.halves, halved.halves) == ("prompts", "levels")
    assert plain.parts is not None
    assert halved.parts is not None
    assert halved.parts.first != plain.parts.first
    signals = [each.parts.grams.signal for each in (plain, halved)]
    assert signals[0] == pytest.approx(signals[1], rel=1e-4)


def test_coefficients_are_reused_between_measurements(open_tiny: Opener) -> None:
    sampler = open_tiny({"balance.refresh_every": 2}).sampler
    first = find_direction(sampler, 1, Carried())
    second = find_direction(sampler, 2, first.carried)
    assert second.measured is None
    assert second.balance is first.balance
    third = find_direction(sampler, 3, second.carried)
    assert third.measured is not None
    assert third.balance is not first.balance


def test_a_reused_balance_is_recorded_when_every_batch_is_to_be(open_tiny: Opener) -> None:
    sampler = open_tiny({"balance.refresh_every": 2}).sampler
    first = find_direction(sampler, 1, Carried())
    second = find_direction(sampler, 2, first.carried, record_all=True)
    assert second.measured is not None
    assert (second.balance.coefficients == first.balance.coefficients).all()


def test_the_measured_and_the_amortised_direction_are_the_same(open_tiny: Opener) -> None:
    """With the same coefficients, one backward pass gives the combination of the K gradients."""
    sampler = open_tiny({"balance.refresh_every": 2, "training.kl_weight": 0.1}).sampler
    first = find_direction(sampler, 1, Carried())
    recorded = find_direction(sampler, 2, first.carried, record_all=True)
    amortised = find_direction(sampler, 2, first.carried)
    for one, other in zip(recorded.gradient, amortised.gradient, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-5)


def test_finding_a_direction_does_not_change_weights_and_gradients(open_tiny: Opener) -> None:
    trainer = open_tiny({"balance.method": "marble-published"})
    before = [parameter.detach().clone() for parameter in trainer.parameters()]
    find_direction(trainer.sampler, 1, Carried())
    for parameter, kept in zip(trainer.parameters(), before, strict=True):
        assert parameter.grad is None
        assert torch.equal(parameter, kept)


def test_a_fault_on_fresh_images_is_reported(open_tiny: Opener) -> None:
    def fails(batch: Any) -> Any:
        raise RuntimeError("no driver")

    sampler = open_tiny({"measure.fresh_every": 2}, {"red": fails}).sampler
    assert fresh_gradients(sampler, 1) is None
    fresh = fresh_gradients(sampler, 2)
    assert fresh is not None
    assert len(fresh.faults) == 1
    assert fresh.faults[0].startswith("red: ")
    assert "fresh images" in fresh.faults[0]


@pytest.mark.parametrize("error", [LostProcessError("gone"), MarbleError("no reason")])
def test_a_lost_process_keeps_its_error_type(
    error: MarbleError, open_tiny: Opener, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other errors of the measurement get the step's number; the launcher needs this one's type."""

    def lost(_reduction: Reduction, _tensors: object) -> None:
        raise error

    monkeypatch.setattr(Reduction, "gradients", lost)
    with pytest.raises(MarbleError) as caught:
        find_direction(open_tiny().sampler, 7, Carried())
    if isinstance(error, LostProcessError):
        assert caught.value is error
    else:
        assert str(caught.value) == "step 7: no reason"


def test_levels_are_remembered_by_the_signal_of_measured_batches(open_tiny: Opener) -> None:
    overrides = {"training.levels.draw": "signal", "measure.slices_every": 2}
    sampler = open_tiny(overrides).sampler
    first = find_direction(sampler, 1, Carried())
    assert first.carried.levels == UNMEASURED
    second = find_direction(sampler, 2, first.carried)
    assert second.measured is not None
    squares = [
        [float(sum(part[k].double().square().sum() for part in blocks)) for k in range(3)]
        for name, blocks in second.measured.gradients.slices.items()
        if name.startswith("noise")
    ]
    rows = np.array(second.carried.levels.rows)
    assert rows.sum() == 12
    expected = UNMEASURED.remember(np.array(squares), rows).probabilities
    assert second.carried.levels.probabilities == pytest.approx(expected)
    third = find_direction(sampler, 3, second.carried)
    assert third.carried.levels == second.carried.levels


def test_what_a_step_carries_survives_a_checkpoint(open_tiny: Opener) -> None:
    overrides = {"training.levels.draw": "signal", "measure.slices_every": 1}
    carried = find_direction(open_tiny(overrides).sampler, 1, Carried()).carried
    saved = json.loads(json.dumps(carried.to_json()))
    again = Carried.from_json(saved, ("bright", "red", "contrast"))
    assert again.to_json() == carried.to_json()
    del saved["level_signal"]
    assert Carried.from_json(saved, ("bright", "red", "contrast")).levels == UNMEASURED
