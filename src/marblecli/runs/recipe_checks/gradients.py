"""What needs the gradients in parts, or all of them by two backward passes."""

from __future__ import annotations

from collections.abc import Iterator

from marblecli.errors import Problem
from marblecli.settings import Recipe


def check_signal(recipe: Recipe) -> Iterator[Problem]:
    """One problem if the balance is solved on a signal that isn't measured apart."""
    if recipe.balance.gram != "signal":
        return
    if recipe.training.gradients != "contracted":
        yield Problem("balance.gram", '"signal" needs training.gradients = "contracted"')
    elif not recipe.measure.parts:
        yield Problem("balance.gram", '"signal" needs measure.parts = true')


def check_halves(recipe: Recipe) -> Iterator[Problem]:
    """One problem if images have only one noise level, and halves of their levels are asked for."""
    if recipe.measure.halves == "levels" and recipe.training.noise_levels < 2:
        message = '"levels" needs training.noise_levels of at least 2'
        yield Problem("measure.halves", message)


def check_fresh_images(recipe: Recipe) -> Iterator[Problem]:
    """One problem if fresh images are measured without the parts of the gradients."""
    if recipe.measure.fresh_every and not recipe.measure.parts:
        yield Problem("measure.fresh_every", "needs measure.parts = true; or set it to 0")


def check_dora(recipe: Recipe) -> Iterator[Problem]:
    """Problems of DoRA, whose magnitudes the two backward passes leave out."""
    if not recipe.model.lora.dora:
        return
    if recipe.training.gradients == "contracted":
        message = 'needs training.gradients = "backward": two passes leave its magnitudes out'
        yield Problem("model.lora.dora", message)
    if recipe.measure.fresh_every:
        message = "must be 0 with model.lora.dora: new images are measured by two backward passes"
        yield Problem("measure.fresh_every", message)
