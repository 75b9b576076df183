from __future__ import annotations

from typing import Any

import pytest

from marble_reward_geneval.request import parse_request


def test_it_reads_what_is_published() -> None:
    request = parse_request(
        {
            "tag": "position",
            "include": [
                {"class": "dog", "count": 1},
                {"class": "tv remote", "count": 2, "color": "red", "position": ["left of", 0]},
            ],
            "exclude": [{"class": "cat", "count": 3}],
            "prompt": "a photo of two red tv remotes left of a dog",
            "something else": None,
        }
    )
    dog, remote = request.include
    assert (dog.name, dog.count, dog.color, dog.position) == ("dog", 1, None, None)
    assert (remote.name, remote.count, remote.color) == ("tv remote", 2, "red")
    assert remote.position == ("left of", 0)
    assert [(one.name, one.count) for one in request.exclude] == [("cat", 3)]
    assert request.tag == "position"
    assert request.classes == {"dog", "tv remote", "cat"}


def test_only_include_is_needed() -> None:
    request = parse_request({"include": [{"class": "dog", "count": 1}]})
    assert (request.tag, list(request.exclude)) == ("", [])


@pytest.mark.parametrize(
    ("include", "message"),
    [
        ([{"class": "dgo", "count": 1}], "unknown class 'dgo' (did you mean 'dog'?)"),
        ([{"class": "remote", "count": 1}], "did you mean 'tv remote'?"),
        ([{"class": "unicorn", "count": 1}], "unknown class 'unicorn'; choose from airplane,"),
        ([{"class": "dog", "count": 0}], "include.0.count: Input should be greater than 0"),
        ([{"class": "dog", "count": 1.5}], "include.0.count"),
        ([{"class": "dog"}], "include.0.count: Field required"),
        ([{"class": "dog", "count": 1, "color": "grey"}], "unknown color 'grey'"),
        ([{"class": "dog", "count": 1, "colour": "red"}], "include.0.colour"),
        ([{"class": "dog", "count": 1, "position": ["left of", 0]}], "doesn't come before it"),
        (
            [
                {"class": "dog", "count": 1},
                {"class": "cat", "count": 1, "position": ["beside", 0]},
            ],
            "unknown relation 'beside'",
        ),
        ([], "include: "),
        ("dog", "include"),
    ],
)
def test_anything_else_is_named_in_a_line(include: Any, message: str) -> None:
    with pytest.raises(ValueError, match="GenEval metadata: ") as caught:
        parse_request({"tag": "counting", "include": include})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_wrong_exclusion_is_named() -> None:
    with pytest.raises(ValueError, match=r"exclude\.0\.class: unknown class 'dogs'"):
        parse_request(
            {"include": [{"class": "dog", "count": 1}], "exclude": [{"class": "dogs", "count": 2}]}
        )
