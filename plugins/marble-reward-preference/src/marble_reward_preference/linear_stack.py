"""The linear stack on which LAION's aesthetic predictor and ImageReward both end.

Five linear layers with dropouts between them and no activations, as published in
christophschuhmann/improved-aesthetic-predictor. It stays in float32 whatever the reward's dtype:
it is 4 MB.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from marblecli.errors import MarbleError


def linear_stack(width: int) -> nn.Sequential:
    """[B, width] -> [B, 1]; the dropouts keep the published numbers of the layers."""
    return nn.Sequential(
        nn.Linear(width, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )


def load_stack(source: Path, weights: Mapping[str, Tensor], width: int) -> nn.Sequential:
    """The stack with these weights, all of them and no others, for scoring.

    Raises MarbleError, naming ``source``, if they don't fit.
    """
    # Without memory of its own: weights that are drawn first would move torch's random state.
    with torch.device("meta"):
        stack = linear_stack(width)
    try:
        stack.load_state_dict({name: w.float() for name, w in weights.items()}, assign=True)
    except RuntimeError as error:
        text = " ".join(str(error).split())
        raise MarbleError(f"{source} doesn't hold the linear stack: {text}") from error
    return stack.eval().requires_grad_(False)
