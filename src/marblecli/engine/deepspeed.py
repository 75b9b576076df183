"""DeepSpeed as the optimizer: AdamW's state sharded over the processes, or in the CPU's memory.

A DeepSpeed engine makes the backward pass itself, and computes a single gradient. Here the gradient
of an update is computed, balanced and clipped without DeepSpeed. The engine then trains a network
that has exactly this gradient g: the linear form sum <p, g> over the trained parameters p.

ZeRO's stages 1 and 2 (Rajbhandari et al. 2020) keep whole weights in every process and change them
in place, so the rest of a run is the same with and without DeepSpeed. With ZeRO-Offload (Ren et al.
2021) the state is in the CPU's memory, and AdamW runs there.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import increment_version
from torch.nn import Parameter

from marblecli.engine.optimizer import make_optimizer
from marblecli.engine.processes import running_together
from marblecli.errors import BadInputError
from marblecli.settings import Recipe, TrainingSettings

if TYPE_CHECKING:
    from accelerate import Accelerator

_MOMENTS = ("exp_avg", "exp_avg_sq")
_BUCKET = 2**26
"""Elements of gradients that are sent at a time. By default, DeepSpeed reserves memory for 500
million."""
_PRECISIONS = ("fp16", "bf16", "amp", "torch_autocast")


class LinearForm(nn.Module):
    """The sum of <p, g> over parameters p: its gradient by p is the given g."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        super().__init__()
        self.parts = nn.ParameterList(parameters)

    def forward(self, gradients: Sequence[Tensor]) -> Tensor:
        """The value of the form. ``gradients`` have the parameters' shapes and order."""
        pairs = zip(self.parts, gradients, strict=True)
        return torch.stack([torch.dot(p.flatten(), g.flatten()) for p, g in pairs]).sum()


class ZeroOptimizer:
    """AdamW for parameters that every process holds whole; DeepSpeed shards its state.

    All processes must call the same methods in the same order, with the same gradients.
    """

    def __init__(
        self,
        accelerator: Accelerator,
        parameters: Sequence[Parameter],
        settings: TrainingSettings,
    ) -> None:
        config = accelerator.deepspeed_plugin.deepspeed_config
        elements = sum(parameter.numel() for parameter in parameters)
        complete(config, accelerator.num_processes, elements)
        # DeepSpeed gathers the weights by a function that newer versions of torch have renamed.
        warnings.filterwarnings("ignore", ".*is deprecated", FutureWarning, "torch.distributed")
        self._accelerator = accelerator
        self._parameters = tuple(parameters)
        # DeepSpeed takes the gradient of every backward pass through its parameters. So it gets
        # parameters of its own, in the same memory.
        self._twins = tuple(Parameter(parameter.detach()) for parameter in parameters)
        self._adam = make_optimizer(self._twins, settings, fused=_offloaded(config))
        with running_together():
            self._engine, _ = accelerator.prepare(LinearForm(self._twins), self._adam)
        self._share()

    def _share(self) -> None:
        """Put our parameters where DeepSpeed has moved its own: into one piece of memory."""
        for mine, twin in zip(self._parameters, self._twins, strict=True):
            mine.data = twin.data

    def step(self) -> None:
        """Update the parameters by their ``.grad``, and set it to None; None counts as zeros."""
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in self._parameters]
        self.zero_grad()
        self._accelerator.backward(self._engine(gradients))
        # DeepSpeed changes the parameters in a way that autograd doesn't notice.
        increment_version(self._parameters)

    def zero_grad(self, set_to_none: bool = True) -> None:  # noqa: ARG002 - as torch's
        """Forget the parameters' gradients."""
        for parameter in self._parameters:
            parameter.grad = None

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """As torch's optimizers have it."""
        return self._adam.param_groups

    @property
    def held(self) -> Tensor:
        """The part of the parameters that AdamW updates in this process: [elements], flat."""
        (part,) = self._adam.param_groups[0]["params"]
        return part

    def tensors(self) -> dict[str, Tensor]:
        """The whole state, named as by :func:`~marblecli.engine.optimizer.optimizer_tensors`.

        It is on the CPU of the first process; the other processes get no tensors.
        """
        from deepspeed.utils import safe_get_full_optimizer_state

        state = self._adam.state.get(self.held)
        if not state:
            return {}
        found = {}
        for index, twin in enumerate(self._twins):
            for name in _MOMENTS:
                whole = safe_get_full_optimizer_state(twin, name)
                if self._accelerator.is_main_process:
                    found[f"{index}.{name}"] = whole.cpu()
            if self._accelerator.is_main_process:
                found[f"{index}.step"] = state["step"].cpu().clone()
        return found

    def load(self, saved: Mapping[str, Tensor]) -> None:
        """Restore a copy of what :meth:`tensors` returned, for the parameters as they are now."""
        from deepspeed.utils import (
            lazy_init_hp_params_optimizer_state,
            safe_set_full_optimizer_state,
        )

        # ZeRO updates a copy of its part, and writes the copy over the parameters.
        self._engine.optimizer.refresh_fp32_params()
        steps = [value for key, value in saved.items() if key.endswith(".step")]
        state = {name: torch.zeros_like(self.held) for name in _MOMENTS}
        state["step"] = torch.tensor(float(max(steps, default=0.0)), device=self.held.device)
        self._adam.state[self.held] = state
        lazy_init_hp_params_optimizer_state(self._twins, self.held, self._adam.state)
        for index, twin in enumerate(self._twins):
            for name in _MOMENTS:
                # In a checkpoint made without DeepSpeed, a parameter without gradient has no state.
                if (whole := saved.get(f"{index}.{name}")) is not None:
                    safe_set_full_optimizer_state(twin, whole, name)


def complete(config: dict[str, Any], processes: int, elements: int) -> None:
    """Set what the user doesn't choose in DeepSpeed's configuration, in place.

    ``config`` has passed :func:`check_zero`; ``elements`` are those of all trained parameters.
    """
    config |= {
        # DeepSpeed uses these three only to know over how many processes gradients are averaged.
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": processes,
        # If this were absent, accelerate would set 1.0.
        "gradient_clipping": 0.0,
        # torch's AdamW is vectorised on the CPU too, and needs no compiler on the user's machine.
        "zero_force_ds_cpu_optimizer": False,
    }
    zero = config["zero_optimization"]
    # Accelerate would derive these from the width of a language model, which we don't have.
    for key in [key for key, value in zero.items() if value == "auto"]:
        del zero[key]
    zero.setdefault("reduce_bucket_size", min(_BUCKET, elements))


def check_zero(config: Mapping[str, Any], recipe: Recipe) -> None:
    """Raise BadInputError if DeepSpeed is configured for more than the recipe's optimizer."""
    for key, reason in _refusals(config, recipe):
        raise BadInputError(f"DeepSpeed can't be used with {key}: {reason}")


def _refusals(config: Mapping[str, Any], recipe: Recipe) -> Iterator[tuple[str, str]]:
    """(the setting, why it can't be used) for each setting that is refused."""
    zero = config["zero_optimization"]
    if (stage := zero.get("stage", 0)) == 3:
        yield (
            "ZeRO stage 3",
            "it needs every pass through the network to be DeepSpeed's; set stage 2, or shard the "
            "weights without DeepSpeed by model.shard = true",
        )
    elif stage not in (1, 2):
        yield f"ZeRO stage {stage}", "it shards nothing; set stage 1 or 2"
    for key, is_set in (("shard", recipe.model.shard), ("offload", recipe.model.offload)):
        if is_set:
            yield f"model.{key}", "set it to false, or start without DeepSpeed"
    if recipe.training.optimizer != "adamw":
        yield (
            f'training.optimizer = "{recipe.training.optimizer}"',
            'its averages are rounded in blocks across the cuts; set "adamw"',
        )
    yield from _precision_refusals(config)
    yield from _section_refusals(config)


def _precision_refusals(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    reason = "trained weights are float32 and the passes follow model.dtype; leave it out"
    for name in _PRECISIONS:
        # Accelerate writes some of these sections itself, as not enabled.
        if (config.get(name) or {}).get("enabled") not in (None, False, "auto"):
            yield f"a section {name}", reason
    precision = os.environ.get("ACCELERATE_MIXED_PRECISION", "no")
    if precision != "no":
        yield f"mixed_precision: {precision}", reason


def _section_refusals(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name in ("optimizer", "scheduler"):
        if name in config:
            yield f"a section {name}", "the recipe's [training] decides; leave it out"
    if config.get("gradient_accumulation_steps", 1) not in (1, "auto"):
        reason = "training.micro_batch_size splits a batch; leave it out"
        yield "gradient_accumulation_steps", reason
    if config.get("gradient_clipping", 0) not in (0, "auto"):
        reason = "training.max_grad_norm clips the gradient; leave it out"
        yield "gradient_clipping", reason
    zero = config["zero_optimization"]
    offload = {name: _device(zero, name) for name in ("offload_optimizer", "offload_param")}
    if offload["offload_optimizer"] not in ("none", "cpu"):
        yield f"offload_optimizer to {offload['offload_optimizer']}", 'set "cpu" or "none"'
    if offload["offload_param"] != "none":
        yield "offload_param", 'stages 1 and 2 leave the weights on the device; set "none"'
    if config.get("zero_force_ds_cpu_optimizer"):
        yield "zero_force_ds_cpu_optimizer", "torch's AdamW is used; leave it out"


def _offloaded(config: Mapping[str, Any]) -> bool:
    return _device(config["zero_optimization"], "offload_optimizer") == "cpu"


def _device(zero: Mapping[str, Any], name: str) -> str:
    return str((zero.get(name) or {}).get("device") or "none")
