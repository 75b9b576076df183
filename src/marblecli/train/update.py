"""One update of the trained weights: clip, optimizer, moving average, old policy."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn.utils import clip_grad_norm_, clip_grads_with_norm_, get_total_norm

from marblecli.engine.optimizer import learning_rate
from marblecli.errors import MarbleError
from marblecli.maths.nft import old_policy_decay
from marblecli.train.trainer import Trainer


def apply_gradient(trainer: Trainer, step: int, gradient: Sequence[Tensor | None]) -> float:
    """Update the trained policy by ``gradient``, which has a tensor or None for each parameter.

    The gradient is clipped in place, or scaled to a fixed norm if the recipe says so. Then the
    average and the old policy follow the new weights. Returns the gradient's norm before that.
    Raises MarbleError if the norm isn't finite.
    """
    training = trainer.sampler.recipe.training
    parameters = trainer.parameters()
    for parameter, part in zip(parameters, gradient, strict=True):
        parameter.grad = part
    norm = _clip(trainer, parameters)
    if not np.isfinite(norm):
        raise MarbleError(
            f"step {step}: the gradient is not finite ({norm}); go on from the last checkpoint "
            "with a lower rate: marble resume RUN_DIR --set training.learning_rate=RATE"
        )
    for group in trainer.optimizer.param_groups:
        group["lr"] = learning_rate(training, step)
    if training.fixed_grad_norm:
        _lengthen(parameters, training.max_grad_norm, norm)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.average.step()
    old = training.old_policy
    decay = old_policy_decay(step, old.slope, old.cap, old.wait)
    trainer.sampler.policies.blend_old(decay)
    return norm


def _clip(trainer: Trainer, parameters: Sequence[Parameter]) -> float:
    """Clip the parameters' ``.grad`` to ``training.max_grad_norm``; returns its norm before."""
    sampler = trainer.sampler
    limit = sampler.recipe.training.max_grad_norm
    if not sampler.reduction.sharded:
        return float(clip_grad_norm_(parameters, limit))
    found = [parameter.grad for parameter in parameters if parameter.grad is not None]
    squares = get_total_norm(found).double().square()
    norm = np.sqrt(sampler.reduction.products(np.asarray(float(squares))))
    home = sampler.policies.shards.home
    clip_grads_with_norm_(parameters, limit, torch.as_tensor(norm, device=home))
    return float(norm)


def _lengthen(parameters: Sequence[Parameter], length: float, norm: float) -> None:
    """Scale a ``.grad`` that was clipped to at most ``length`` up to it; ``norm`` is from before.

    A gradient of zero stays as it is.
    """
    if 0.0 < norm < length:
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad.mul_(length / norm)
