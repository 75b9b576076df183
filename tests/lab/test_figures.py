from __future__ import annotations

from marblecli.lab.figures import (
    curve_charts,
    distance_chart,
    harmony_charts,
    pareto_charts,
    sample_chart,
)
from marblecli.lab.page import find
from support.lab_results import results
from support.svg import texts

FOUND = find("a lab", results())


def test_the_front_is_named_without_specialists() -> None:
    overall, pair = pareto_charts(FOUND.comparison)
    assert "marble" in overall.text
    assert "specialist" not in overall.text
    assert {"marble", "equal", "weighted-sum"} <= set(texts(overall.svg))
    assert pair.title == "a and b"
    assert "specialist-a" in pair.text


def test_every_reward_has_a_curve_with_every_method() -> None:
    charts = curve_charts(FOUND.results, FOUND.paths)
    assert [chart.title for chart in charts] == ["Worst share by step", "a", "b"]
    for chart in charts:
        assert {"marble", "equal", "weighted-sum"} <= set(texts(chart.svg))


def test_cosines_are_means_over_the_seeds() -> None:
    charts = {chart.title: chart for chart in harmony_charts(FOUND.results)}
    assert charts.keys() == FOUND.results.methods.keys()
    assert {"a", "+0.50", "b", "-0.25"} <= set(texts(charts["marble"].svg))


def test_the_distance_is_drawn_where_it_was_measured() -> None:
    chart = distance_chart(FOUND.paths)
    assert chart is not None
    assert "distance from the base model" in texts(chart.svg)
    assert distance_chart({}) is None


def test_advantages_are_by_reward_and_source() -> None:
    assert FOUND.samples is not None
    assert {"a", "b", "even", "odd"} <= set(texts(sample_chart(FOUND.samples).svg))
