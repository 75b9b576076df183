from __future__ import annotations

import pytest

from marblecli.report.tables import Column, Judged, MeanCosine, Table
from support.findings import SURE

TABLE = Table(
    "title",
    (Column("reward", "text"), Column("norm", "number", detail=2), Column("cosine", "cosine")),
    (("a", 1.0, -0.5), ("b", None, float("nan")), ("c", 2, 0.5)),
    notes=("a note",),
)


def test_rows_can_be_cut_at_either_end() -> None:
    assert [row[0] for row in TABLE.first(2).rows] == ["a", "b"]
    assert [row[0] for row in TABLE.last(2).rows] == ["b", "c"]
    assert TABLE.last(9) == TABLE.first(9) == TABLE


def test_details_can_be_left_out() -> None:
    assert TABLE.without_details(2) == TABLE
    short = TABLE.without_details(1)
    assert short == TABLE.without_details() == TABLE.only([0, 2])
    assert [column.title for column in short.columns] == ["reward", "cosine"]
    assert short.rows[0] == ("a", -0.5)
    assert short.notes == TABLE.notes


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("text", 1.0),
        ("count", 1.5),
        ("share", "12 %"),
        ("estimate", 0.5),
        ("verdict", MeanCosine(SURE)),
        ("weighted", Judged("conflict", SURE)),
    ],
)
def test_a_cell_is_of_its_columns_kind(kind, cell) -> None:
    with pytest.raises(TypeError, match=f"title: column: .* isn't {kind}"):
        Table("title", (Column("column", kind),), ((cell,),))


def test_every_row_has_a_cell_for_each_column() -> None:
    with pytest.raises(ValueError, match="zip"):
        Table("title", (Column("reward", "text"), Column("norm", "number")), (("a",),))
