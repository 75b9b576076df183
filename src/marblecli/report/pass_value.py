"""What a step buys, in sentences, tables and JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from marblecli.conflicts.pass_value import OtherGeometry, PassValue, StepValue
from marblecli.report.document import or_none
from marblecli.report.sentences import counted
from marblecli.report.tables import Column, Table
from marblecli.types import Json

TITLE = "What a step buys"


@dataclass(frozen=True)
class ValueReport:
    """The sentences and tables of what a step buys."""

    sentences: tuple[str, ...]
    tables: tuple[Table, ...]
    document: Json


def value_report(found: StepValue) -> ValueReport:
    """Describe what was found."""
    tables = [_rewards_table(found.own)]
    if found.others:
        tables.append(_geometries_table(found))
    return ValueReport(tuple(_sentences(found)), tuple(tables), _document(found))


def _sentences(found: StepValue) -> Iterator[str]:
    own, passes = found.own, found.own.passes
    yield (
        f"{TITLE}: {_figure(own)} thousandths of squared signal-to-noise for each forward pass of "
        f"an image (the mean over rewards, of one batch of {found.images} images). {_basis(own)}"
    )
    sampling = passes.sampling / passes.total
    yield (
        f"An image takes {passes.total:.1f} passes: {passes.sampling:.0f} to sample it "
        f"({100 * sampling:.0f} %), and {passes.row:.2f} for each of its {passes.rows:g} "
        f"{'row' if passes.rows == 1 else 'rows'}."
    )
    if found.by_level:
        whole = own.per_pass * passes.total
        alone = ", ".join(
            f"{name.removeprefix('noise ')}: {_share(part, whole)}"
            for name, part in found.by_level.items()
        )
        yield (
            "The rows of one range of noise levels alone have this share of the squared ratio of "
            f"all: {alone}. They don't add up to 1."
        )
    yield from _comparison(found)


def _comparison(found: StepValue) -> Iterator[str]:
    if not found.others:
        if found.comparable:
            yield (
                "Which setting would buy more: --geometries measures a few others on as many "
                "batches."
            )
        return
    best = found.best
    if best is None:
        yield (
            f"None of {counted(len(found.others), 'other geometry', 'other geometries')} buys "
            "significantly more. More batches would tell smaller differences."
        )
        return
    yield (
        f"More is bought by {_typed(best)}: {best.times:.1f} ± {best.error:.1f} times as much. "
        "It is the best of those measured, which flatters it a little; and each geometry is judged "
        "by its own gradient, so that training has to show whether it learns the same."
    )


def _basis(value: PassValue) -> str:
    if value.pairs == "batches":
        return f"The signal is what {value.batches} batches have in common."
    return (
        f"The signal is what the two halves of a batch have in common, in {value.batches} batches; "
        "halves share no prompt."
    )


def _figure(value: PassValue) -> str:
    return f"{1000 * value.per_pass:.1f} ± {1000 * value.error:.1f}"


def _share(part: float, whole: float) -> str:
    return f"{part / whole:.2f}" if whole > 0.0 and math.isfinite(part) else "unknown"


def _typed(geometry: OtherGeometry) -> str:
    return " ".join(f"--set {each}" for each in geometry.overrides)


def _rewards_table(own: PassValue) -> Table:
    return Table(
        title="Signal-to-noise ratio of one batch's gradient",
        columns=(
            Column("reward", "text"),
            Column("signal-to-noise", "number"),
            Column("squared, 1/1000 a pass", "number", detail=1),
        ),
        rows=tuple(
            (name, _ratio(squared), 1000 * squared / own.passes.total)
            for name, squared in own.squared.items()
        ),
        explanation=(
            "The length of what batches have in common over that of a batch's own deviation from "
            "it. Below 1, most of a batch's gradient is noise. Below 0 in the last column, batches "
            "agree less than by chance, and the ratio is 0."
        ),
    )


def _ratio(squared: float) -> float:
    return math.sqrt(max(squared, 0.0)) if math.isfinite(squared) else squared


def _geometries_table(found: StepValue) -> Table:
    return Table(
        title="What a forward pass buys with other geometries",
        columns=(
            Column("geometry", "text"),
            Column("passes an image", "text"),
            Column("1000 SNR² / pass", "text"),
            Column("times this recipe", "text"),
        ),
        rows=(
            ("this recipe", f"{found.own.passes.total:.1f}", _figure(found.own), "1"),
            *(
                (
                    " ".join(each.overrides),
                    f"{each.value.passes.total:.1f}",
                    _figure(each.value),
                    _times(each),
                )
                for each in found.others
            ),
        ),
        explanation=(
            "The squared signal-to-noise ratio of one batch over the passes of an image, with its "
            "standard error over batches, measured on the same prompts and as many batches. "
            "Geometries differ significantly where the ratio is more than two errors from 1."
        ),
    )


def _times(each: OtherGeometry) -> str:
    return "-" if math.isnan(each.times) else f"{each.times:.1f} ± {each.error:.1f}"


def _document(found: StepValue) -> dict[str, Json]:
    best = found.best
    return {
        **_value_json(found.own),
        "measured_by": found.own.pairs,
        "batches": found.own.batches,
        "images": found.images,
        "by_level": {name: or_none(value) for name, value in found.by_level.items()},
        "geometries": [
            {
                "overrides": list(each.overrides),
                **_value_json(each.value),
                "times": or_none(each.times),
                "times_error": or_none(each.error),
            }
            for each in found.others
        ],
        "best": None if best is None else list(best.overrides),
    }


def _value_json(value: PassValue) -> dict[str, Json]:
    passes = value.passes
    return {
        "per_pass": or_none(value.per_pass),
        "per_pass_error": or_none(value.error),
        "passes": {
            "total": passes.total,
            "sampling": passes.sampling,
            "rows": passes.rows,
            "row": passes.row,
        },
        "squared_signal_to_noise": {
            name: or_none(squared) for name, squared in value.squared.items()
        },
    }
