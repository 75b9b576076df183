"""The moving average of the trained weights, which evaluations use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from diffusers.training_utils import EMAModel
from torch import Tensor
from torch.nn import Parameter

from marblecli.models.policies import Policies


class Average:
    """An exponential moving average of named parameters, warmed up as diffusers' ``EMAModel``.

    With ``on_cpu`` it stays in the CPU's memory, and the parameters are sent there for each step.
    """

    def __init__(
        self, parameters: Mapping[str, Parameter], decay: float, *, on_cpu: bool = False
    ) -> None:
        self._parameters = dict(parameters)
        self._on_cpu = on_cpu
        self._ema = EMAModel(list(parameters.values()), decay=decay)
        if on_cpu:
            self._ema.to("cpu")

    @property
    def steps(self) -> int:
        """How many steps it has averaged over."""
        steps: int = self._ema.optimization_step
        return steps

    def step(self) -> None:
        """Move towards the parameters as they are now."""
        parameters = list(self._parameters.values())
        if self._on_cpu:
            # Parameters again, not tensors: what asks for no gradient would be copied whole.
            parameters = [Parameter(parameter.detach().cpu()) for parameter in parameters]
        self._ema.step(parameters)

    def tensors(self) -> dict[str, Tensor]:
        """The averages by the parameters' names; not copies."""
        return dict(zip(self._parameters, self._ema.shadow_params, strict=True))

    def load(self, averages: Mapping[str, Tensor], steps: int) -> None:
        """Take over copies of saved averages, in the shapes of the parameters."""
        device = next(iter(self._parameters.values())).device
        device = torch.device("cpu") if self._on_cpu else device
        self._ema.shadow_params = [
            averages[name].to(device, copy=True) for name in self._parameters
        ]
        self._ema.optimization_step = steps

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the parameters hold the averages."""
        parameters = list(self._parameters.values())
        self._ema.store(parameters)
        self._ema.copy_to(parameters)
        try:
            yield
        finally:
            self._ema.restore(parameters)


@contextmanager
def averaged_weights(policies: Policies, average: Average) -> Iterator[None]:
    """Inside, the trained policy runs with its moving average."""
    with average.in_place(), policies.apart():
        yield
