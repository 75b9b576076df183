"""Tensors on their way from the CPU to the device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(tensor: Tensor, device: torch.device) -> Tensor:
    """The tensor there; itself if it is there already.

    To CUDA it goes from pinned memory, so that neither the device nor this process waits for the
    other. Torch keeps that memory for later copies, and reuses it when this one has been made.
    """
    if device.type != "cuda" or tensor.is_cuda:
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)
