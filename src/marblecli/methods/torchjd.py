"""An adapter of TorchJD's weightings, which see the Gram of the unit gradients alone.

TorchJD (Quinton and Rey 2024, arXiv 2406.16232) isn't installed with marble, but its names are
known without it. Its weightings that keep state in torch (gradvac, pcd, cr-mogm, ...), that need
two batches (modo, sdmgrad) or that ignore conflict (krum, mean, random, sum) are left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from marblecli.errors import BadInputError, MarbleError
from marblecli.methods.method import MethodSpec, State, Statistics, unit_mixture
from marblecli.types import Balance, FloatArray

if TYPE_CHECKING:
    from torchjd.aggregation import Weighting

WEIGHTINGS: Mapping[str, tuple[str, Mapping[str, float]]] = MappingProxyType(
    {
        "aligned-mtl": ("AlignedMTLWeighting", {}),
        "cagrad": ("CAGradWeighting", {"c": 0.5}),
        "dualproj": ("DualProjWeighting", {}),
        "fairgrad": ("FairGradWeighting", {"alpha": 2.0}),
        "imtl-g": ("IMTLGWeighting", {}),
        "mgda": ("MGDAWeighting", {}),
        # Nash-MTL's bargaining solution, Gw = 1/w, is FairGrad's of alpha = 1.
        "nash-mtl": ("FairGradWeighting", {"alpha": 1.0}),
        "pcgrad": ("PCGradWeighting", {}),
        "upgrad": ("UPGradWeighting", {}),
    }
)
"""Our name -> TorchJD's class and its options, where it has no default of its own."""

_ALIASES = ("pcgrad", "upgrad")
"""Names that are also known without the prefix."""


def torchjd(name: str, statistics: Statistics, state: State) -> tuple[Balance, State]:
    """TorchJD's weights of the unit gradients, scaled so that their absolute values sum to 1.

    Some of ``imtl-g`` and ``aligned-mtl`` may be negative. All are 0 where TorchJD finds that the
    gradients are in balance already.
    """
    weights = torchjd_weights(name, statistics.unit_gram, statistics.step)
    total = float(np.abs(weights).sum())
    return unit_mixture(weights / total if total > 0.0 else weights, statistics.norms), state


def torchjd_weights(name: str, unit_gram: FloatArray, seed: int) -> FloatArray:
    """[K], the weights that TorchJD gives the unit gradients; not on the simplex, some negative.

    ``unit_gram`` [K, K] must have a unit diagonal: TorchJD takes small Grams for zero. ``seed``
    fixes the order in which PCGrad projects; torch's global generator is left as it was.

    Raises BadInputError, with the command to run, if TorchJD or what it needs isn't installed;
    MarbleError if it fails or its weights aren't finite.
    """
    weighting = build_weighting(name)
    import torch
    from cvxpy.error import SolverError

    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the devices too.
        torch.default_generator.manual_seed(seed)
        try:
            weights = weighting(torch.from_numpy(unit_gram)).detach().numpy()
        except (ArithmeticError, RuntimeError, SolverError, ValueError) as error:
            reason = " ".join(str(error).split())
            raise MarbleError(f"torchjd:{name} failed on this batch: {reason}") from error
    if not np.isfinite(weights).all():
        raise MarbleError(f"torchjd:{name} gave weights that are not finite on this batch")
    found: FloatArray = weights.astype(np.float64)
    return found


def build_weighting(name: str) -> Weighting[Any]:
    """TorchJD's own object. Raises BadInputError, with the command to run, if it can't be had."""
    kind, options = WEIGHTINGS[name]
    try:
        from torchjd import aggregation

        weighting: Weighting[Any] = vars(aggregation)[kind](**options)
    except ImportError as error:
        raise BadInputError(
            f"the balance method torchjd:{name} needs TorchJD and its QP solver: "
            "pip install 'marblecli[torchjd]'"
        ) from error
    return weighting


def _spec(name: str) -> MethodSpec:
    method = partial(torchjd, name)

    def check(_options: object) -> None:
        build_weighting(name)

    return MethodSpec(
        name=f"torchjd:{name}",
        summary=f"TorchJD's {name}, on the unit gradients",
        build=lambda _options: method,
        aliases=(name,) if name in _ALIASES else (),
        check=check,
    )


SPECS = tuple(_spec(name) for name in WEIGHTINGS)
