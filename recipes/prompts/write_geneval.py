"""Write training prompts in GenEval's format.

``python recipes/prompts/write_geneval.py OUT.jsonl --count 5000 --seed 0 --exclude TEST.jsonl``
writes one prompt with its metadata on each line, the six tags in turn. No scene comes twice, and
none of an excluded file, whichever way round it is told. The same arguments always write the same
file.
"""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marble_reward_geneval.request import Request, parse_request
from marble_reward_geneval.vocabulary import CLASSES, COLOURS, RELATIONS, TAGS
from marblecli.errors import BadInputError
from prompt_writing import in_turn, make_parser, read_prompts, run_writer, with_article

_NUMBERS = {2: "two", 3: "three", 4: "four"}
_PLURALS = {
    "person": "people",
    "sheep": "sheep",
    "skis": "skis",
    "knife": "knives",
    "broccoli": "broccoli",
    "computer mouse": "computer mice",
    "scissors": "scissors",
}
_COLOURABLE = CLASSES[1:]
"""No coloured persons, as in GenEval."""
_OPPOSITES = {"right of": "left of", "below": "above"}

Line = dict[str, Any]
"""The prompt and its metadata, as one JSON line has them."""
SceneKey = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class _Kind:
    """All scenes of one tag, each under its number."""

    size: int
    scene: Callable[[int], Line]


def draw_prompts(
    seed: int, excluded: Sequence[Path] = (), tags: Sequence[str] = TAGS
) -> Iterator[Line]:
    """The tags' scenes in turn, in random order, until there are no more of any tag.

    Raises BadInputError if an excluded file can't be read, or its metadata aren't GenEval's.
    """
    seen, texts = _read_excluded(excluded)
    rng = np.random.default_rng(seed)
    shuffled = [_shuffled(_KINDS[tag], rng) for tag in dict.fromkeys(tags)]
    return in_turn([_new(lines, seen, texts) for lines in shuffled])


def scene_key(request: Request) -> SceneKey:
    """The same for any two requests that ask for the same scene, in whatever order."""
    objects = [(part.name, part.count, part.color or "") for part in request.include]
    places = [
        _place(objects[index], part.position[0], objects[part.position[1]])
        for index, part in enumerate(request.include)
        if part.position
    ]
    return (*sorted(objects), *sorted(places))


def plural(name: str) -> str:
    """Several of a class, in English; GenEval itself only adds "s" or "es"."""
    if name in _PLURALS:
        return _PLURALS[name]
    return name + ("es" if name.endswith(("s", "sh", "ch", "x")) else "s")


def _place(one: object, relation: str, other: object) -> tuple[Any, ...]:
    if relation in _OPPOSITES:
        return (other, _OPPOSITES[relation], one)
    return (one, relation, other)


def _read_excluded(paths: Sequence[Path]) -> tuple[set[SceneKey], set[str]]:
    """The scenes of the prompts that carry metadata, and all texts."""
    scenes, texts = set(), set()
    for path in paths:
        for prompt in read_prompts([path]):
            texts.add(prompt.text)
            if "include" in prompt.metadata:
                try:
                    scenes.add(scene_key(parse_request(prompt.metadata)))
                except ValueError as error:
                    raise BadInputError(f"{path}: {prompt.text!r}: {error}") from error
    return scenes, texts


def _shuffled(kind: _Kind, rng: np.random.Generator) -> Iterator[Line]:
    return (kind.scene(int(number)) for number in rng.permutation(kind.size))


def _new(lines: Iterator[Line], seen: set[SceneKey], texts: set[str]) -> Iterator[Line]:
    """The lines that aren't excluded and whose scene wasn't drawn before their turn came."""
    for line in lines:
        key = scene_key(parse_request({"include": line["include"]}))
        new = key not in seen and line["prompt"] not in texts
        seen.add(key)
        if new:
            yield line


def _single_object(number: int) -> Line:
    return _line(
        "single_object", [{"class": CLASSES[number], "count": 1}], with_article(CLASSES[number])
    )


def _two_object(number: int) -> Line:
    one, other = _pair(number, CLASSES)
    include = [{"class": one, "count": 1}, {"class": other, "count": 1}]
    return _line("two_object", include, f"{with_article(one)} and {with_article(other)}")


def _counting(number: int) -> Line:
    index, offset = divmod(number, len(_NUMBERS))
    name, count = CLASSES[index], offset + 2
    line = _line("counting", [{"class": name, "count": count}], f"{_NUMBERS[count]} {plural(name)}")
    return {**line, "exclude": [{"class": name, "count": count + 1}]}


def _colors(number: int) -> Line:
    index, colour = divmod(number, len(COLOURS))
    return _line("colors", *_coloured(_COLOURABLE[index], COLOURS[colour]))


def _position(number: int) -> Line:
    index, relation = divmod(number, len(RELATIONS))
    one, other = _pair(index, CLASSES)
    include = [
        {"class": other, "count": 1},
        {"class": one, "count": 1, "position": [RELATIONS[relation], 0]},
    ]
    return _line(
        "position", include, f"{with_article(one)} {RELATIONS[relation]} {with_article(other)}"
    )


def _color_attr(number: int) -> Line:
    names, colours = divmod(number, len(COLOURS) * (len(COLOURS) - 1))
    coloured = zip(_pair(names, _COLOURABLE), _pair(colours, COLOURS), strict=True)
    (one, one_text), (other, other_text) = (_coloured(*pair) for pair in coloured)
    return _line("color_attr", [*one, *other], f"{one_text} and {other_text}")


_KINDS = {
    "single_object": _Kind(len(CLASSES), _single_object),
    "two_object": _Kind(len(CLASSES) * (len(CLASSES) - 1), _two_object),
    "counting": _Kind(len(CLASSES) * len(_NUMBERS), _counting),
    "colors": _Kind(len(_COLOURABLE) * len(COLOURS), _colors),
    "position": _Kind(len(CLASSES) * (len(CLASSES) - 1) * len(RELATIONS), _position),
    "color_attr": _Kind(
        len(_COLOURABLE) * (len(_COLOURABLE) - 1) * len(COLOURS) * (len(COLOURS) - 1), _color_attr
    ),
}


def _line(tag: str, include: list[dict[str, Any]], text: str) -> Line:
    return {"prompt": f"a photo of {text}", "tag": tag, "include": include}


def _coloured(name: str, colour: str) -> tuple[list[dict[str, Any]], str]:
    return [{"class": name, "count": 1, "color": colour}], with_article(f"{colour} {name}")


def _pair(number: int, choices: Sequence[str]) -> tuple[str, str]:
    """Two different choices, in order; ``number`` is below n (n - 1)."""
    first, second = divmod(number, len(choices) - 1)
    return choices[first], choices[second + (second >= first)]


def main() -> None:
    """Write the file that the command line names."""
    parser = make_parser("Write training prompts in GenEval's format.", "OUT.jsonl", "scenes")
    parser.add_argument("--tag", action="append", choices=TAGS, help="may be repeated; default all")
    run_writer(parser, _draw)


def _draw(options: Namespace) -> Iterator[str]:
    return map(json.dumps, draw_prompts(options.seed, options.exclude, options.tag or TAGS))


if __name__ == "__main__":
    main()
