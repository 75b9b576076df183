"""Whether an export that was loaded back changes the weights as the run did."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from marblecli.errors import MarbleError
from marblecli.export.subject import Subject


def check_changes(
    subject: Subject, found: Iterable[tuple[str, Tensor]], tolerance: float, tool: str
) -> float:
    """The largest difference of any weight's change from the run's own.

    ``found`` has each adapted layer's change, float64 [out, in], as ``tool`` makes it from the
    file. A layer's difference is relative to its largest change, or to 1e-3 if that is more; of
    DoRA, which scales the weights themselves, it is relative to the largest weight.

    Raises MarbleError, in one line, if a layer is missing or differs by more than ``tolerance``.
    """
    missing = set(subject.lora.layers)
    worst = 0.0
    for layer, change in found:
        missing.discard(layer)
        wanted = subject.change(layer)
        whole = subject.base_weight(layer) if subject.lora.dora else wanted
        size = max(float(whole.abs().max()), 1e-3)
        difference = float((change - wanted).abs().max()) / size
        if not difference <= tolerance:
            raise MarbleError(
                f"the load check failed: {tool} changes {layer} otherwise than the run, by a share "
                f"of {difference:.2g} (at most {tolerance:g} is allowed)"
            )
        worst = max(worst, difference)
    if missing:
        raise MarbleError(
            f"the load check failed: {tool} doesn't load {len(missing)} of "
            f"{len(subject.lora.layers)} layers, such as {min(missing)}"
        )
    return worst


def check_weights(
    found: Iterable[tuple[str, Tensor]], wanted: dict[str, Tensor], dtype: torch.dtype, tool: str
) -> float:
    """The largest difference of any whole weight from ``wanted``, relative to its largest entry.

    ``dtype`` is what the weights were rounded to. Raises MarbleError as above.
    """
    missing, worst = set(wanted), 0.0
    tolerance = max(1e-6, torch.finfo(dtype).eps)
    for name, weight in found:
        if name not in missing:
            continue
        missing.discard(name)
        size = max(float(wanted[name].abs().max()), torch.finfo(dtype).tiny)
        difference = float((weight.detach().double() - wanted[name].double()).abs().max()) / size
        if not difference <= tolerance:
            raise MarbleError(
                f"the load check failed: {tool} loads another {name} than was saved, by "
                f"{difference:.2g} of its largest entry (at most {tolerance:g} is allowed)"
            )
        worst = max(worst, difference)
    if missing:
        raise MarbleError(
            f"the load check failed: {tool} doesn't load {len(missing)} of {len(wanted)} weights, "
            f"such as {min(missing)}"
        )
    return worst
