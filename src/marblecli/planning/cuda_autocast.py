"""CUDA's rules of autocast on tensors of the CPU.

Fake tensors can't stand for CUDA's in a torch that was built without CUDA: its autograd refuses
them. The plan's passes therefore run on fake tensors of the CPU. There autocast runs products,
convolutions and attention in the low precision, as CUDA's does, but leaves layer norms and the like
as they come, where CUDA's runs them in float32. What a layer norm saves for its backward pass is
twice as large then.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

_INPUTS = (
    "__pow__ acos asin binary_cross_entropy_with_logits cdist cosh cosine_embedding_loss "
    "cosine_similarity dist erfinv exp expm1 frobenius_norm group_norm hinge_embedding_loss "
    "huber_loss interpolate kl_div l1_loss layer_norm log log10 log1p log2 logsumexp "
    "margin_ranking_loss mse_loss multi_margin_loss multilabel_margin_loss native_layer_norm "
    "nll_loss nuclear_norm pdist poisson_nll_loss pow reciprocal renorm rms_norm rsqrt sinh "
    "smooth_l1_loss soft_margin_loss softplus tan triplet_margin_loss"
)
_RESULTS = "cumprod cumsum log_softmax norm prod softmax sum"

IN_FLOAT32 = frozenset(_INPUTS.split())
"""Functions that CUDA's autocast gives their tensors in float32 (ATen/autocast_mode.h,
``AT_FORALL_FP32``)."""
TO_FLOAT32 = frozenset(_RESULTS.split())
"""Functions that it asks for a result in float32 (``AT_FORALL_FP32_SET_OPT_DTYPE`` there)."""


class CudaAutocast(TorchFunctionMode):
    """Inside, where autocast is on for the CPU, these functions run as on CUDA."""

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name in IN_FLOAT32 and torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(_in_float32, (args, kwargs))
        elif name in TO_FLOAT32 and torch.is_autocast_enabled("cpu") and _is_low(args[0]):
            kwargs = {**kwargs, "dtype": kwargs.get("dtype") or torch.float32}
        return func(*args, **kwargs)


def _in_float32(value: Any) -> Any:
    return value.float() if _is_low(value) else value


def _is_low(value: object) -> bool:
    return isinstance(value, Tensor) and value.dtype in (torch.bfloat16, torch.float16)
