"""Balance methods. What the author of one needs is importable from here."""

from marblecli.methods.method import (
    LossInputs,
    LossTargets,
    Method,
    MethodSpec,
    Needs,
    Register,
    State,
    Statistics,
    loss_mixture,
    unit_mixture,
)
from marblecli.plugins import NoOptions, hookimpl
from marblecli.types import Balance

__all__ = [
    "Balance",
    "LossInputs",
    "LossTargets",
    "Method",
    "MethodSpec",
    "Needs",
    "NoOptions",
    "Register",
    "State",
    "Statistics",
    "hookimpl",
    "loss_mixture",
    "unit_mixture",
]
