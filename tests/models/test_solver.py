"""Its order and its accuracy on a known flow are held by tests/train/test_rollout.py."""

from __future__ import annotations

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler

from marblecli.models.solver import FlowSolver


def test_it_steps_as_diffusers_scheduler_does_to_the_bit() -> None:
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 4, 3, 3, generator=generator)
    velocities = [torch.randn(2, 4, 3, 3, generator=generator) for _ in range(5)]
    scheduler = DPMSolverMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0, solver_order=2
    )
    scheduler.set_timesteps(5)
    solver = FlowSolver(5, 3.0)
    assert torch.equal(solver.levels, scheduler.sigmas)
    expected = found = latents
    for timestep, velocity in zip(scheduler.timesteps, velocities, strict=True):
        expected = scheduler.step(velocity, timestep, expected, return_dict=False)[0]
        found = solver.step(velocity, found)
        assert torch.equal(found, expected)
    with pytest.raises(StopIteration):
        solver.step(velocities[0], found)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_levels_fall_from_noise_to_nothing(shift: float) -> None:
    levels = FlowSolver(8, shift).levels
    assert levels.dtype == torch.float32
    assert len(levels) == 9
    assert (levels.diff() < 0).all()
    assert 0.99 < levels[0] < 1.0
    assert levels[-1] == 0.0
