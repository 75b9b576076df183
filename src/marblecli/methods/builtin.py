"""The methods that come with marble, registered as a stranger's are."""

from __future__ import annotations

from marblecli.methods import (
    equal,
    marble,
    published,
    sequential,
    single,
    torchjd,
    weighted_sum,
)
from marblecli.methods.method import Register
from marblecli.plugins import hookimpl


@hookimpl
def marble_register_methods(register: Register) -> None:
    """Register every method of this folder."""
    for module in (marble, weighted_sum, equal, single, sequential, published):
        register(module.SPEC)
    for spec in torchjd.SPECS:
        register(spec)
