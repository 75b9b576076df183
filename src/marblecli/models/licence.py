"""What a base model's licence asks of those who pass trained weights on."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Licence:
    """As the hub's model cards name it."""

    notice: str
    """Sentences for a model card."""
    name: str | None = None
    """The hub's ``license_name``, if it is known."""
    link: str | None = None


UNKNOWN = Licence(
    "The licence of the base model applies to these weights, too; see the base model's page."
)
