"""A micro-step on a device other than the CPU, on machines that have no such device.

Fake tensors have shapes and a device, but no values. An operation on tensors of two devices fails,
and so does reading a value. The device is a made-up one, which is registered with torch in a
process of its own. What torch lacks there for such a device is replaced below.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily

from marblecli.engine.processes import meet_alone
from marblecli.engine.shards import Shards
from marblecli.models.full_policies import ShardedPolicies
from marblecli.models.lora_policies import LoraPolicies
from marblecli.models.policies import Policies
from marblecli.models.sd3.family import SD3
from marblecli.train.batch import LossSettings
from marblecli.train.gradients.plain import amortised_backward
from marblecli.train.gradients.reward_gradients import contracted_gradients

SETTINGS = LossSettings(mix=0.1, advantage_clip=5.0, kl_weight=1e-2, micro_batch_size=6)
NAME = "imaginary"
DEVICE = f"{NAME}:0"


class ImaginaryModule:
    """The made-up device's counterpart of ``torch.cuda``, with the streams of a CPU."""

    def __getattr__(self, name: str) -> Any:
        return getattr(torch.cpu, name)

    def is_initialized(self) -> bool:
        return True

    def is_available(self) -> bool:
        return True

    def current_device(self) -> int:
        return 0

    def device_count(self) -> int:
        return 1

    def _is_in_bad_fork(self) -> bool:
        return False

    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16]

    def manual_seed_all(self, _seed: int) -> None:
        pass


def replace_parameters(
    module: nn.Module, convert: Callable[[torch.Tensor], torch.Tensor], _recurse: bool = True
) -> nn.Module:
    """Replace parameters, because ``Module._apply`` can't exchange fake tensors in place."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None:
                with torch.no_grad():
                    moved = nn.Parameter(convert(parameter), parameter.requires_grad)
                part._parameters[name] = moved
        for name, buffer in part._buffers.items():
            part._buffers[name] = None if buffer is None else convert(buffer)
    return module


def relabel(parameters: Any, buffers: Any, device: torch.device) -> None:
    for tensor in (*parameters, *buffers):
        tensor.fake_device = torch.device(device.type, 0)


@contextmanager
def imaginary_device() -> Iterator[None]:
    """Inside, all tensors are fake, and the made-up device exists."""
    from torch.distributed import device_mesh
    from torch.distributed.fsdp._fully_shard import _fsdp_init
    from torch.utils.backend_registration import _setup_privateuseone_for_python_backend

    make_mesh = device_mesh.init_device_mesh

    def real_mesh(*arguments: Any) -> Any:
        with unset_fake_temporarily():
            return make_mesh(*arguments)

    _setup_privateuseone_for_python_backend(NAME, ImaginaryModule())
    with pytest.MonkeyPatch.context() as patch, FakeTensorMode():
        patch.setattr(nn.Module, "_apply", replace_parameters)
        patch.setattr(torch.Tensor, "pin_memory", lambda tensor, *_: tensor)
        patch.setattr(FakeTensorMode, "__deepcopy__", lambda mode, _memo: mode, raising=False)
        patch.setattr(device_mesh, "init_device_mesh", real_mesh)
        patch.setattr(_fsdp_init, "_move_states_to_device", relabel)
        yield


def policies_on_the_device(mode: str) -> Policies:
    from support import training as conftest

    transformer = conftest.make_transformer()
    if mode == "offloaded":
        shards = Shards(device=torch.device(DEVICE), offloaded=True)
        return ShardedPolicies(SD3, transformer, torch.float32, shards)
    transformer.to(DEVICE)
    return LoraPolicies(SD3, transformer, conftest.LoraSettings(rank=3), torch.float32)


def devices(_rank: int, _count: int) -> dict[str, dict[str, set[str]]]:
    """The devices that tensors are on, by mode and kind of tensor."""
    from torch import distributed

    from support import training as conftest

    meet_alone(torch.device("cpu"))
    found: dict[str, dict[str, set[str]]] = {}
    with imaginary_device():
        batch = conftest.moved(conftest.make_batch(torch.float32), DEVICE)
        # One micro-batch is enough, because fake tensors are slow.
        batch = replace(batch, levels=batch.levels[:, :1])
        for mode in ("lora", "offloaded"):
            policies = policies_on_the_device(mode)
            policies.blend_old(0.5)
            if mode == "offloaded":
                policies.checkpoint_blocks()
            gradients = contracted_gradients(policies, batch, SETTINGS)
            amortised_backward(policies, batch, SETTINGS, torch.ones(5))
            parameters = list(policies.trained_parameters().values())
            tensors = {
                "weights": parameters,
                "buffers": list(policies.network("old").buffers()),
                "accumulators": list(gradients.tensors()),
                "gradients": [parameter.grad for parameter in parameters],
            }
            found[mode] = {
                of: {str(each.device) for each in some if each is not None}
                for of, some in tensors.items()
            }
        with pytest.raises(RuntimeError):
            batch.latents + torch.ones(1)
        with pytest.raises(Exception, match="_local_scalar_dense"):
            batch.latents.sum().item()
    distributed.destroy_process_group()
    return found


def test_a_micro_step_stays_on_the_device(run_group: Callable[..., Any]) -> None:
    (found,) = run_group(1, devices)
    assert all(of == {DEVICE} for of in found["lora"].values())
    buffers = found["offloaded"].pop("buffers")
    assert buffers == {DEVICE}
    assert all(of == {"cpu"} for of in found["offloaded"].values())
