"""The methods that come with marble, registered as a stranger's are."""

from __future__ import annotations

from marblecli.methods import (
    equal,
    gdpo,
    marble,
    noise_aware,
    published,
    raw_sum,
    sequential,
    single,
    torchjd,
    weighted_sum,
)
from marblecli.methods.method import Register
from marblecli.plugins import hookimpl

OWN = (marble, noise_aware, equal, weighted_sum, raw_sum, gdpo, single, sequential, published)
"""The modules of the methods, in the order of lists."""


@hookimpl
def marble_register_methods(register: Register) -> None:
    """Register every method of this folder."""
    for module in OWN:
        register(module.SPEC)
    for spec in torchjd.SPECS:
        register(spec)
