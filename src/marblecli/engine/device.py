"""The device of a process, through accelerate."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from marblecli.engine.deepspeed import check_zero
from marblecli.engine.processes import Processes, on_cpu, wants_deepspeed
from marblecli.errors import BadInputError
from marblecli.settings import Recipe

_SUPPORTED = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_XPU")
"""Accelerate's kinds of distribution in which every process has the whole model."""


def make_accelerator(recipe: Recipe, processes: Processes) -> Accelerator:
    """Accelerate's handle of this process's device.

    Raises BadInputError for accelerate's FSDP and Megatron modes, which aren't supported, and for
    what DeepSpeed can't do here.
    """
    # The policies have their own autocast, so accelerate gets none.
    accelerator = Accelerator(cpu=on_cpu(processes), mixed_precision="no")
    check_distribution(accelerator, recipe)
    if accelerator.device.type == "cuda":
        # This is for the products that stay in float32 beside autocast (sums over samples), and for
        # all products if dtype = "fp32". TF32 keeps 10 bits of each factor; bf16 keeps 7.
        torch.set_float32_matmul_precision("high")
    return accelerator


def check_distribution(accelerator: Accelerator, recipe: Recipe) -> None:
    """Raise BadInputError where accelerate is configured for a mode that isn't supported."""
    kind = accelerator.distributed_type.value
    if kind == "DEEPSPEED" and wants_deepspeed():
        check_zero(accelerator.deepspeed_plugin.deepspeed_config, recipe)
    elif kind not in _SUPPORTED:
        raise BadInputError(
            f"accelerate is configured for {kind}, which isn't supported; start the run with "
            "--num-processes, torchrun or accelerate launch (--multi_gpu or --use_deepspeed)"
        )


def device_name(device: torch.device) -> str:
    """The device as a recipe names it: accelerate numbers CPUs, a recipe doesn't."""
    return "cpu" if device.type == "cpu" else str(device)
