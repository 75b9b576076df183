"""The solver that takes noise to a clean image along a flow."""

from __future__ import annotations

from diffusers import DPMSolverMultistepScheduler
from torch import Tensor


class FlowSolver:
    """DPM-Solver++(2M) (Lu et al. 2022) on a shifted flow-matching grid, for one trajectory.

    ``shift`` moves the levels towards noise: t -> shift t / (1 + (shift - 1) t). A family whose
    shift depends on the resolution computes it before it makes the solver.
    """

    def __init__(self, steps: int, shift: float) -> None:
        self._scheduler = DPMSolverMultistepScheduler(
            prediction_type="flow_prediction",
            use_flow_sigmas=True,
            flow_shift=shift,
            solver_order=2,
        )
        self._scheduler.set_timesteps(steps)
        self._timesteps = iter(self._scheduler.timesteps)
        self.levels: Tensor = self._scheduler.sigmas
        """float32 [steps + 1]: the noise levels from the first to the last, which is 0."""

    def step(self, velocity: Tensor, latents: Tensor) -> Tensor:
        """From the latents at one level, and their velocity there, to those at the next level.

        Both are [B, C, h, w]. Raises StopIteration after the last level.
        """
        timestep = next(self._timesteps)
        moved: Tensor = self._scheduler.step(velocity, timestep, latents, return_dict=False)[0]
        return moved
