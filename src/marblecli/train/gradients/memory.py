"""A memory of the rewards' gradients, from which the signal that batches share is estimated.

It holds a decayed sum m_k of each reward's gradients, without the pull, in float32: as many numbers
as K gradients. :mod:`marblecli.maths.remembered_signal` says what is made of it.

Gradients are the whole batch's in every process, so all processes remember the same. With sharded
weights, a process remembers its own rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor

from marblecli.engine.reduction import Reduction
from marblecli.maths.gram import gram_matrix
from marblecli.maths.remembered_signal import SignalSums
from marblecli.train.gradients.reward_gradients import RewardGradients
from marblecli.types import BoolArray, FloatArray, GradientStats, Json, SignalEstimate


class GradientMemory:
    """The remembered gradients of a run's rewards; empty at first.

    A batch is first looked at, by :meth:`with_batch`, and then kept, by :meth:`keep`, when its step
    is made. So a step that is interrupted before leaves the memory as it was.
    """

    def __init__(self, rewards: Sequence[str], decay: float) -> None:
        self._rewards = tuple(rewards)
        self._decay = decay
        self._sums = SignalSums.empty(len(self._rewards))
        self._blocks: list[Tensor] = []
        self._notices: list[str] = []

    def with_batch(
        self,
        gradients: RewardGradients,
        stats: GradientStats,
        own: FloatArray,
        reduction: Reduction,
    ) -> SignalEstimate | None:
        """The signals' Gram with this batch; None until each usable reward has had two batches.

        ``own`` [K, K] is the Gram of the batch's signals. The gradients must be in parts.
        """
        sums = self._sums.after(own, stats.norms, stats.usable, self._decay)
        gram = reduction.products(gram_matrix(self._moved(gradients, stats.usable)))
        return sums.estimate(gram, stats.usable)

    def keep(self, gradients: RewardGradients, stats: GradientStats, own: FloatArray) -> None:
        """Remember the batch; the arguments are those of :meth:`with_batch`."""
        self._sums = self._sums.after(own, stats.norms, stats.usable, self._decay)
        moved = self._moved(gradients, stats.usable)
        if self._blocks:
            for place, block in enumerate(moved):
                self._blocks[place] = block
        else:
            self._blocks = list(moved)

    def _moved(self, gradients: RewardGradients, usable: BoolArray) -> Iterator[Tensor]:
        """For each parameter [K, ...], the sums with the batch, one parameter after the other."""
        known = torch.from_numpy(usable)
        for place, signal in enumerate(gradients.signal()):
            there = known.to(signal.device).view(-1, *[1] * (signal.ndim - 1))
            # A gradient that isn't usable may hold NaN, so it isn't multiplied by 0.
            new = torch.where(there, signal, 0.0).float().mul_(1.0 - self._decay)
            yield new.add_(self._blocks[place], alpha=self._decay) if self._blocks else new

    def tensors(self, parameters: Sequence[str]) -> dict[str, Tensor]:
        """The sums by parameter and reward, for :meth:`load`; not copies, and none if empty."""
        pairs = zip(parameters, self._blocks, strict=True) if self._blocks else ()
        return {
            f"{parameter}/{reward}": block[place]
            for parameter, block in pairs
            for place, reward in enumerate(self._rewards)
        }

    def state(self) -> Json:
        """The numbers beside the tensors, for :meth:`load`."""
        return self._sums.to_json()

    def load(
        self,
        parameters: Mapping[str, Tensor],
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Json] | None,
    ) -> None:
        """Take over copies of what was saved; ``parameters`` by name say in which order and where.

        Without a ``state``, as in older checkpoints, the memory is empty, and a notice says so.
        """
        self._sums, self._blocks = SignalSums.empty(len(self._rewards)), []
        if state is None:
            self._notices.append(
                "the checkpoint holds no gradient memory, so it starts empty: the next steps "
                "differ from those of a run that goes on without a stop"
            )
            return
        self._sums = SignalSums.from_json(state)
        if tensors:
            self._blocks = [
                torch.stack([tensors[f"{name}/{reward}"] for reward in self._rewards]).to(
                    parameter.device
                )
                for name, parameter in parameters.items()
            ]

    def take_notices(self) -> tuple[str, ...]:
        """What is to be said, once."""
        taken, self._notices = tuple(self._notices), []
        return taken
