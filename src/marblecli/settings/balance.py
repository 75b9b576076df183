"""``[balance]`` and ``[measure]``: how gradients are combined, and what is measured of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveInt, field_validator, model_validator

from marblecli.settings.table import Share, Table, gathered


class BalancePhase(Table):
    """``[[balance.phases]]``: a method for the first steps; other keys are the method's own."""

    method: str
    """The method of the phase."""
    until: PositiveInt
    """The last step of the phase; the next one starts after it."""
    options: Mapping[str, Any] = {}
    """Every other key is an option of the method."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return gathered(table, cls)


class BalanceSettings(Table):
    """``[balance]``: how the rewards' gradients become one direction."""

    method: str = "marble"
    """The method of all steps, or of those after the last phase; ``marble methods list`` shows what
    is installed."""
    phases: Sequence[BalancePhase] = ()
    """The methods of the first steps, in order."""
    refresh_every: PositiveInt = 1
    """Steps for which the coefficients of a measured batch are used."""
    gram: Literal["whole", "signal"] = "whole"
    """The gradients that the method sees: whole ones, or only their signal, without the pull
    towards the old policy."""
    memory: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """What the cosines and norms of earlier batches count for the method; 0 for this batch only."""
    shrinkage: Share = 0.0
    """How far the cosines that the method sees are shrunk towards 0; with 1 it sees orthogonal
    gradients."""
    gradient_memory: Annotated[float, Field(ge=0.1, lt=1.0)] = 0.9
    """What an earlier batch counts against the one after it in the remembered gradients; used only
    by methods that need the signal that batches share."""
    options: Mapping[str, Any] = {}
    """Every other key is an option of the method, or of the phases' methods."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, table: Any) -> Any:
        return gathered(table, cls)

    @field_validator("phases", mode="after")
    @classmethod
    def _one_after_another(cls, phases: Sequence[BalancePhase]) -> Sequence[BalancePhase]:
        ends = [phase.until for phase in phases]
        if ends != sorted(set(ends)):
            raise ValueError(f"each must end after the one before it, got until = {ends}")
        return tuple(phases)


OWN_BALANCE_KEYS = frozenset((BalanceSettings.model_fields | BalancePhase.model_fields).keys()) - {
    "options"
}
"""Keys of ``[balance]`` and its phases that no method may use."""


class MeasureSettings(Table):
    """``[measure]``: what is measured of the conflicts beyond what training needs."""

    parts: bool = True
    """Measure the signal of each half of the batch, and the pull towards the old policy, apart.
    ``false`` takes a third of the memory for gradients, and rules out measurements by slice."""
    halves: Literal["prompts", "levels"] = "prompts"
    """Which halves of a batch the signals are compared between. Halves of different ``prompts``
    share what all prompts share. Halves of every image's noise ``levels`` also share what is learnt
    prompt by prompt, and the accidents of which images were sampled: those count as signal."""
    fresh_every: NonNegativeInt = 0
    """Steps between measurements on fresh images, each of which costs a rollout; 0 for none."""
    slices_every: NonNegativeInt = 10
    """Steps between measurements by prompt source and noise level; 0 for none."""
    reused: bool = False
    """Also measure steps that reuse coefficients; they then take as many passes as the others."""
