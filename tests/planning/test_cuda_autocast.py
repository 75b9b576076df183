from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marblecli.planning.cuda_autocast import IN_FLOAT32, TO_FLOAT32, CudaAutocast

LOW = torch.bfloat16
HEADER = Path(torch.__file__).parent / "include" / "ATen" / "autocast_mode.h"


def listed(macro: str) -> set[str]:
    """The functions in a list of torch's own header, those with a name in Python."""
    text = HEADER.read_text()
    body = text.partition(f"#define {macro}(_)")[2].partition("#define")[0]
    names = set(re.findall(r"_\((\w+)", body))
    homes = (torch, F, Tensor)
    return {name for name in names if any(hasattr(home, name) for home in homes)}


@pytest.mark.skipif(not HEADER.is_file(), reason="this torch comes without its headers")
def test_the_functions_are_those_of_torchs_own_lists() -> None:
    # Python's names for pow and for the upsampling functions.
    assert listed("AT_FORALL_FP32") <= IN_FLOAT32
    assert IN_FLOAT32 - listed("AT_FORALL_FP32") <= {"__pow__", "interpolate", "rms_norm"}
    assert listed("AT_FORALL_FP32_SET_OPT_DTYPE") <= TO_FLOAT32
    assert TO_FLOAT32 - listed("AT_FORALL_FP32_SET_OPT_DTYPE") == {"norm"}


def test_norms_and_sums_run_in_float32_and_products_dont() -> None:
    x, norm = torch.randn(2, 4, dtype=LOW), nn.LayerNorm(4, dtype=LOW)
    results = {
        "norm": lambda: norm(x),
        "power": lambda: x**2,
        "root": lambda: torch.rsqrt(x.abs()),
        "softmax": lambda: F.softmax(x, -1),
        "sum": lambda: x.sum(-1),
    }
    for name, run in results.items():
        assert run().dtype == LOW, name
        with torch.autocast("cpu", LOW):
            assert run().dtype == LOW, name
            with CudaAutocast():
                assert run().dtype == torch.float32, name
                assert (norm(x) @ x.T.float()).dtype == LOW
                assert (x + x).dtype == LOW
        with CudaAutocast():
            assert run().dtype == LOW, name


def test_a_norm_keeps_a_float32_input_for_its_backward_pass() -> None:
    x, norm = torch.randn(8, 64, dtype=LOW, requires_grad=True), nn.LayerNorm(64)

    def kept() -> int:
        sizes = []
        keep = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.nbytes) or tensor, lambda tensor: tensor
        )
        with torch.autocast("cpu", LOW), keep:
            norm(x)
        return max(sizes)

    assert kept() == 2 * x.numel()
    with CudaAutocast():
        assert kept() == 4 * x.numel()
