from __future__ import annotations

import json
import math

import numpy as np

from marblecli.conflicts.pass_value import OtherGeometry, PassValue, StepValue
from marblecli.maths.passes import ImagePasses
from marblecli.report.pass_value import value_report


def value(passes: ImagePasses, *squared: float) -> PassValue:
    figure = float(np.nanmean(squared)) / passes.total
    names = "ab"[: len(squared)]
    return PassValue("batches", passes, dict(zip(names, squared, strict=True)), np.full(8, figure))


OWN = value(ImagePasses(8, 4, 4.0), 0.36, 0.12)
OTHER = value(ImagePasses(4, 2, 4.0), 0.36, 0.36)
SLOWER = OtherGeometry(("sampling.steps=30",), OTHER, 0.5, 0.1)
FASTER = OtherGeometry(("sampling.steps=4", "training.noise_levels=2"), OTHER, 3.0, 0.4)


def said(found: StepValue) -> str:
    return " ".join(value_report(found).sentences)


def test_the_figure_and_where_the_passes_go() -> None:
    text = said(StepValue(OWN, 72))
    assert "10.0 ± 0.0 thousandths" in text
    assert "one batch of 72 images" in text
    assert "24.0 passes: 8 to sample it (33 %), and 4.00 for each of its 4 rows" in text
    assert "--geometries" not in text


def test_a_probe_says_how_to_compare() -> None:
    assert "--geometries measures a few others" in said(StepValue(OWN, 72, comparable=True))


def test_levels_as_shares_of_all() -> None:
    text = said(StepValue(OWN, 72, by_level={"noise 0.67-1.0": 0.18, "noise 0.0-0.33": math.nan}))
    assert "0.67-1.0: 0.75, 0.0-0.33: unknown" in text


def test_the_best_geometry_is_what_to_type() -> None:
    text = said(StepValue(OWN, 72, others=(SLOWER, FASTER)))
    assert "--set sampling.steps=4 --set training.noise_levels=2: 3.0 ± 0.4 times as much" in text
    assert "None of 1 other geometry buys" in said(StepValue(OWN, 72, others=(SLOWER,)))


def test_tables_of_rewards_and_geometries() -> None:
    rewards, geometries = value_report(StepValue(OWN, 72, others=(FASTER,))).tables
    assert rewards.rows[0][:2] == ("a", 0.6)
    assert [row[0] for row in geometries.rows] == [
        "this recipe",
        "sampling.steps=4 training.noise_levels=2",
    ]
    assert geometries.rows[1][-1] == "3.0 ± 0.4"


def test_a_reward_without_signal_or_gradient() -> None:
    own = value(ImagePasses(8, 4, 4.0), -0.1, math.nan)
    report = value_report(StepValue(own, 72))
    (table,) = report.tables
    assert table.rows[0][1] == 0.0
    assert report.document["squared_signal_to_noise"] == {"a": -0.1, "b": None}


def test_the_document_is_json() -> None:
    document = json.loads(json.dumps(value_report(StepValue(OWN, 72, others=(FASTER,))).document))
    assert document["passes"] == {"total": 24.0, "sampling": 8, "rows": 4, "row": 4.0}
    assert document["geometries"][0]["times"] == 3.0
    assert document["best"] == ["sampling.steps=4", "training.noise_levels=2"]
