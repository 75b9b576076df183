from __future__ import annotations

import pytest
import torch
from diffusers import SD3Transformer2DModel
from diffusers.training_utils import EMAModel
from torch.nn import Parameter

from marblecli.models.average import Average, averaged_weights
from marblecli.models.full_policies import FullPolicies
from marblecli.models.sd3.family import SD3

DECAY = 0.6


def moved(parameters: dict[str, Parameter], step: int) -> None:
    with torch.no_grad():
        for parameter in parameters.values():
            parameter.add_(torch.full_like(parameter, 0.1 * (step + 1)))


def parameters_of() -> dict[str, Parameter]:
    return {"a": Parameter(torch.zeros(2, 3)), "b": Parameter(torch.ones(4))}


@pytest.mark.parametrize("on_cpu", [False, True])
def test_it_averages_as_diffusers_ema_does(on_cpu: bool) -> None:
    parameters = parameters_of()
    average = Average(parameters, DECAY, on_cpu=on_cpu)
    ema = EMAModel(list(parameters.values()), decay=DECAY)
    for step in range(15):
        moved(parameters, step)
        average.step()
        ema.step(list(parameters.values()))
    assert average.steps == 15
    for found, expected in zip(average.tensors().values(), ema.shadow_params, strict=True):
        assert torch.equal(found, expected)
    # At its full decay by now: the next average is 0.6 of this one and 0.4 of the weight.
    before = average.tensors()["b"].clone()
    moved(parameters, 15)
    average.step()
    torch.testing.assert_close(average.tensors()["b"], 0.6 * before + 0.4 * parameters["b"])


def test_loaded_averages_are_copies_and_go_on_from_their_step() -> None:
    parameters = parameters_of()
    average = Average(parameters, DECAY)
    for step in range(3):
        moved(parameters, step)
        average.step()
    saved = {name: tensor.clone() for name, tensor in average.tensors().items()}
    other = Average(parameters, DECAY)
    other.load(saved, average.steps)
    moved(parameters, 3)
    for one in (average, other):
        one.step()
    for name, tensor in other.tensors().items():
        assert torch.equal(tensor, average.tensors()[name])
        assert not torch.equal(tensor, saved[name])


def test_inside_the_parameters_hold_the_averages_and_afterwards_their_own() -> None:
    parameters = parameters_of()
    average = Average(parameters, DECAY)
    average.step()
    moved(parameters, 0)
    own = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    with average.in_place():
        for name, parameter in parameters.items():
            assert torch.equal(parameter, average.tensors()[name])
            assert not torch.equal(parameter, own[name])
    assert all(torch.equal(parameters[name], own[name]) for name in own)


def test_inside_the_old_policy_isnt_taken_for_the_trained_one(
    transformer: SD3Transformer2DModel,
) -> None:
    policies = FullPolicies(SD3, transformer, torch.float32)
    average = Average(policies.trained_parameters(), DECAY)
    assert policies.old_is_trained
    with averaged_weights(policies, average):
        assert not policies.old_is_trained
    assert policies.old_is_trained
