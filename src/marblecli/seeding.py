"""Random streams named by purpose and step, so that a resumed run draws the same numbers.

No state is kept between steps: every stream is derived from the run's seed. The global random state
isn't used.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def stream(seed: int, purpose: str, *indices: int) -> np.random.Generator:
    """A NumPy generator for ``purpose`` and ``indices`` (step, prompt) in a run with ``seed``."""
    return np.random.default_rng([seed, zlib.crc32(purpose.encode()), *indices])


def torch_stream(seed: int, purpose: str, *indices: int) -> torch.Generator:
    """A torch generator like :func:`stream`; on the CPU, so all devices get the same numbers."""
    import torch

    state = int(stream(seed, purpose, *indices).integers(2**62))
    return torch.Generator().manual_seed(state)
