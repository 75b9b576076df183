"""What a forward pass buys at several geometries: ``python benchmarks/geometry.py [RECIPE]``.

A geometry is how many steps images are sampled in, and at which noise levels they are trained. For
each one, many batches of the same frozen policy are drawn from the same prompts. The figure is the
squared signal-to-noise ratio of a batch's gradient (as in ``gradient_noise.py``) over the forward
passes that the batch takes for each of its images. Twice the images give twice this ratio, and so
does a geometry that needs half the passes: ratios of these figures are ratios of computing for a
gradient that is equally sure.

A pass is one evaluation of the network for one image; a backward pass to the adapters counts as
1.12, which is what torch counts for SD3.5 Medium.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from marblecli.models.quiet import quiet_libraries

if __name__ == "__main__":
    # The imports below load the libraries that this quiets.
    quiet_libraries()

import numpy as np
from rich.console import Console
from rich.table import Table

from marblecli.maths.passes import ImagePasses, row_passes
from marblecli.maths.signal import batch_products, jackknife, squared_signal_to_noise
from marblecli.train.collect import collect, loss_settings, training_batch
from marblecli.train.gradients.reward_gradients import contracted_gradients
from marblecli.train.levels import UNMEASURED
from marblecli.train.sampler import Sampler
from marblecli.train.step import remembered
from marblecli.types import FloatArray
from opening import opened


@dataclass(frozen=True)
class Geometry:
    """How images are sampled and trained."""

    name: str
    sampler_steps: int
    rows: int
    """Rows of each image: the noise levels that it is trained at."""
    levels: tuple[str, ...] = ()
    """``KEY=VALUE`` of ``[training.levels]``."""
    more: tuple[str, ...] = ()
    """``KEY=VALUE`` of the recipe: which rows are trained, and larger groups."""
    images: float = 1.0
    """Sampled images, as a multiple of the other geometries'."""
    trained: float = 1.0
    """The share of all rows that is trained."""
    reference_share: float = 1.0
    """The share of rows that run the reference policy, which the regulariser needs."""
    backward_passes: float = 1.0
    """Backward passes of each row."""

    @property
    def passes(self) -> float:
        """Forward passes for each image of the other geometries' batches.

        The old and the trained policy run for each row that is trained, and the sampler for every
        image, whether it is trained or not.
        """
        row = row_passes(1.0, self.reference_share, self.backward_passes)
        rows = self.rows * self.trained
        return self.images * ImagePasses(self.sampler_steps, rows, row).total

    def overrides(self) -> list[str]:
        """For a recipe, whose own levels don't count."""
        return [
            "training.levels={}",
            f"sampling.steps={self.sampler_steps}",
            f"training.noise_levels={self.rows}",
            *(f"training.levels.{option}" for option in self.levels),
            *self.more,
        ]


def _ours(name: str, steps: int, rows: int, *levels: str) -> Geometry:
    """With the pull and the regulariser on a quarter of the rows, by two more backward passes."""
    return Geometry(name, steps, rows, levels, reference_share=0.25, backward_passes=1.5)


_ABOVE = ("draw=uniform", "low=0.8")

GEOMETRIES = (
    Geometry("published: 25 steps, 24 of their levels", 25, 24),
    Geometry("DiffusionNFT: 10 steps, 9 of their levels", 10, 9),
    # It has no regulariser in its example for SD3.5: no reference policy.
    Geometry(
        "Flow-Factory: 14 steps, 4 of their noisier half", 14, 4, ("low=0.75",), reference_share=0.0
    ),
    _ours("8 steps, 4 of their levels", 8, 4),
    _ours("8 steps, 4 levels above 0.8, uniform", 8, 4, "draw=uniform", "low=0.8"),
    _ours("8 steps, 8 levels above 0.8, uniform", 8, 8, "draw=uniform", "low=0.8"),
    _ours("8 steps, 4 levels, logit-normal", 8, 4, "draw=logit-normal", "mean=2.0"),
    replace(
        _ours("rows: half of them, by size", 8, 4, *_ABOVE),
        more=("training.rows.draw=by-size", "training.rows.share=0.5"),
        trained=0.5,
    ),
    replace(
        _ours("rows: half of 8 levels, by size", 8, 8, *_ABOVE),
        more=("training.rows.draw=by-size", "training.rows.share=0.5"),
        trained=0.5,
    ),
    replace(
        _ours("rows: 6 extremes of 12", 8, 4, *_ABOVE),
        more=("training.rows.extremes=6",),
        trained=0.5,
    ),
    replace(
        _ours("rows: 12 extremes of 24", 8, 4, *_ABOVE),
        more=("training.rows.extremes=12", "sampling.group_size=24"),
        images=2.0,
        trained=0.5,
    ),
    replace(
        _ours("signal: 8 steps, 4 levels above 0.8", 8, 4, "draw=signal", "low=0.8"),
        more=("measure.slices_every=1",),
    ),
    replace(
        _ours("signal: 8 steps, 4 levels above 0.5", 8, 4, "draw=signal", "low=0.5"),
        more=("measure.slices_every=1",),
    ),
    _ours("8 steps, 4 levels above 0.5, uniform", 8, 4, "draw=uniform", "low=0.5"),
)


@dataclass(frozen=True)
class Figures:
    """What one geometry gives."""

    name: str
    passes: float
    """Forward passes of each image."""
    signal_to_noise: dict[str, float]
    """Of one batch, by reward."""
    per_pass: float
    """The mean over rewards of the squared signal-to-noise ratio, over the passes."""
    error: float
    """The standard error of :attr:`per_pass`, by the jackknife over batches."""


def main() -> None:
    """Parse, measure, print."""
    options = _parse()
    found = [_measured(options, each) for each in GEOMETRIES if options.only in each.name]
    _show(found)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=2))


def _measured(options: argparse.Namespace, geometry: Geometry) -> Figures:
    overrides = [*options.set, *geometry.overrides()]
    with opened(options.recipe, overrides) as sampler:
        names = tuple(sampler.recipe.rewards)
        signals = list(_signals(sampler, options.batches))
    products = batch_products(np.array(signals))
    squared = squared_signal_to_noise(products)
    per_pass, error = jackknife(products, geometry.passes)
    ratios = np.sqrt(np.maximum(squared, 0.0)).tolist()
    return Figures(
        name=geometry.name,
        passes=geometry.passes,
        signal_to_noise=dict(zip(names, ratios, strict=True)),
        per_pass=per_pass,
        error=error,
    )


def _signals(sampler: Sampler, batches: int) -> Iterator[FloatArray]:
    """[K, P] of each batch: the rewards' gradients, without the pull, over all P parameters."""
    settings = loss_settings(sampler.recipe, sampler.micro_batch.size)
    levels = UNMEASURED
    for step in range(1, batches + 1):
        batch = training_batch(sampler, step, collect(sampler, step), levels)
        # The signal doesn't depend on the pull, which is left out of as many rows as may be.
        found = contracted_gradients(sampler.policies, batch, settings, pull_share=1e-9)
        levels = remembered(levels, batch, found)
        blocks = [block.flatten(1).double().cpu().numpy() for block in found.signal()]
        yield np.concatenate(blocks, axis=1)


def _show(found: Sequence[Figures]) -> None:
    console = Console()
    table = Table(title="What a forward pass buys")
    table.add_column("")
    table.add_column("geometry")
    for column in ("passes", "1000 SNR² / pass", "times"):
        table.add_column(column, justify="right")
    for number, each in enumerate(found, 1):
        table.add_row(
            str(number),
            each.name,
            f"{each.passes:.1f}",
            f"{1000 * each.per_pass:.1f} ± {1000 * each.error:.1f}",
            f"{each.per_pass / found[0].per_pass:.1f}",
        )
    console.print(table)
    table = Table(title="Signal-to-noise ratio of one batch, by geometry")
    table.add_column("reward")
    for number in range(1, len(found) + 1):
        table.add_column(str(number), justify="right")
    for name in found[0].signal_to_noise:
        table.add_row(name, *(f"{each.signal_to_noise[name]:.2f}" for each in found))
    console.print(table)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description="What a forward pass buys at several geometries.",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("recipe", type=Path, nargs="?", default=Path("recipes/quickstart.toml"))
    parser.add_argument("--batches", type=int, default=16, help="of each geometry, at least 3")
    parser.add_argument("--only", default="", metavar="TEXT", help="geometries with this text")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


if __name__ == "__main__":
    main()
