from __future__ import annotations

from reference.markdown import fragment, page, prose, table


def test_prose_joins_lines_and_keeps_paragraphs() -> None:
    assert (
        prose("One ``key``\n    and more.\n\n    Then this.") == "One `key` and more.\n\nThen this."
    )


def test_a_cell_is_one_line_and_its_bars_do_not_end_it() -> None:
    assert table(("a",), [("one\ntwo | three",)]).splitlines()[-1] == r"| one two \| three |"


def test_a_page_leaves_out_empty_blocks() -> None:
    assert page("# A", "", "text").splitlines()[1:] == ["", "# A", "", "text"]


def test_a_fragment_is_the_one_that_github_makes() -> None:
    assert fragment("[training.old_policy]") == "#trainingold_policy"
    assert fragment("marble inspect-conflicts") == "#marble-inspect-conflicts"
