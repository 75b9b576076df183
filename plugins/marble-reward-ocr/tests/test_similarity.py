from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marble_reward_ocr.similarity import exact, normalise, published, whole

LETTERS = "abAB \u00fcß\u4f60"
TARGETS = st.text(LETTERS, min_size=1, max_size=6).map(lambda text: text + "a")


@pytest.mark.parametrize(
    ("target", "text", "scores"),
    [
        # target, what was read, (published, exact, whole)
        ("hello", "hello", (1.0, 1.0, 1.0)),
        ("Hello World", "HELLOWORLD", (1.0, 1.0, 1.0)),
        ("hello", "", (0.0, 0.0, 0.0)),
        ("hello", "hallo", (0.8, 0.0, 0.8)),
        ("hello", "hell", (0.8, 0.0, 0.8)),
        ("hello", "helllo", (0.8, 0.0, 0.8)),
        ("hello", "ehllo", (0.6, 0.0, 0.6)),
        # Text beside a whole target is free, except to the measure of all text.
        ("hello", "hello!!", (1.0, 1.0, 0.6)),
        ("hello", "say hello to all of them", (1.0, 1.0, 0.0)),
        # Beside a broken one it costs.
        ("hello", "hallo!!", (0.4, 0.0, 0.4)),
        # The distance is at most the target's length.
        ("hi", "completely different", (0.0, 0.0, 0.0)),
        ("a", "b", (0.0, 0.0, 0.0)),
        ("O₂ LOW", "O2 LOW", (0.8, 0.0, 0.8)),
    ],
)
def test_by_hand(target: str, text: str, scores: tuple[float, float, float]) -> None:
    measured = published(target, text), exact(target, text), whole(target, text)
    assert measured == pytest.approx(scores)


@given(target=TARGETS, text=st.text(LETTERS, max_size=12))
def test_ranges_and_order(target: str, text: str) -> None:
    soft, hard, all_text = published(target, text), exact(target, text), whole(target, text)
    assert 0 <= all_text <= soft <= 1
    assert hard == float(soft == 1)


@given(target=TARGETS, before=st.text(max_size=4), after=st.text(max_size=4))
def test_a_whole_target_scores_one_wherever_it_stands(target: str, before: str, after: str) -> None:
    # Case may change a letter's length ("İ"), so the text is put together as it is compared.
    text = normalise(before) + normalise(target) + normalise(after)
    assert published(target, text) == exact(target, text) == 1
