"""Random streams named by purpose and step, so that a resumed run draws what it would have drawn.

Nothing is kept between steps: every stream is derived from the run's seed, and no global random
state is touched.
"""

from __future__ import annotations

import zlib

import numpy as np
import torch


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A NumPy generator for ``purpose`` at ``indices`` (a step, a prompt) of the run ``seed``."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *indices])


def torch_stream(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """The same for torch, on the CPU, so that every device draws the same numbers."""
    state = int(stream(seed, purpose, *indices).integers(2**62))
    return torch.Generator().manual_seed(state)
