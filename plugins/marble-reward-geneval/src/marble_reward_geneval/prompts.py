"""Training prompts in GenEval's format.

``python -m marble_reward_geneval.prompts OUT.jsonl --count 5000 --seed 0 --exclude TEST.jsonl``
writes a prompt and its metadata a line, the six tags in turn. No scene comes twice, and none of an
excluded file, whichever way round it is told. The same file for the same arguments.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from marble_reward_geneval.request import Request, parse_request
from marble_reward_geneval.vocabulary import CLASSES, COLOURS, RELATIONS, TAGS
from marblecli.errors import BadInputError
from marblecli.runs.prompts import load_prompts

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
"""As GenEval: no coloured persons."""
_OPPOSITES = {"right of": "left of", "below": "above"}

Line = dict[str, Any]
"""Prompt and metadata, as one JSON line has them."""
SceneKey = tuple[tuple[Any, ...], ...]


@dataclass(frozen=True)
class _Kind:
    """All scenes of one tag, numbered."""

    size: int
    scene: Callable[[int], Line]


def write_prompts(
    path: Path, count: int, seed: int, excluded: Sequence[Path] = (), tags: Sequence[str] = TAGS
) -> None:
    """Write ``count`` lines to ``path``.

    Raises BadInputError if there aren't as many scenes, or an excluded file can't be read, and
    ValueError if its metadata aren't GenEval's.
    """
    if count < 1:
        raise BadInputError(f"--count must be at least 1, got {count}")
    lines = list(islice(draw_prompts(seed, excluded, tags), count))
    if len(lines) < count:
        raise BadInputError(
            f"there are only {len(lines)} scenes with these tags: choose a --count of at most that"
        )
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")


def draw_prompts(
    seed: int, excluded: Sequence[Path] = (), tags: Sequence[str] = TAGS
) -> Iterator[Line]:
    """The tags' scenes in turn, in random order, until there are no more of any tag."""
    seen, texts = _read_excluded(excluded)
    rng = np.random.default_rng(seed)
    decks = [_shuffled(_KINDS[tag], rng) for tag in dict.fromkeys(tags)]
    while decks:
        for deck in list(decks):
            line = next((one for one in deck if _take(one, seen, texts)), None)
            if line is None:
                decks.remove(deck)
            else:
                yield line


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
    prompts = [prompt for path in paths for prompt in load_prompts(path, path.stem)]
    scenes = {scene_key(parse_request(p.metadata)) for p in prompts if "include" in p.metadata}
    return scenes, {prompt.text for prompt in prompts}


def _shuffled(kind: _Kind, rng: np.random.Generator) -> Iterator[Line]:
    return (kind.scene(int(number)) for number in rng.permutation(kind.size))


def _take(line: Line, seen: set[SceneKey], texts: set[str]) -> bool:
    """Note the scene; whether it may be used, being neither excluded nor drawn before."""
    key = scene_key(parse_request({"include": line["include"]}))
    new = key not in seen and line["prompt"] not in texts
    seen.add(key)
    return new


def _single_object(number: int) -> Line:
    return _line("single_object", [{"class": CLASSES[number], "count": 1}], _an(CLASSES[number]))


def _two_object(number: int) -> Line:
    one, other = _pair(number, CLASSES)
    include = [{"class": one, "count": 1}, {"class": other, "count": 1}]
    return _line("two_object", include, f"{_an(one)} and {_an(other)}")


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
    return _line("position", include, f"{_an(one)} {RELATIONS[relation]} {_an(other)}")


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
    return [{"class": name, "count": 1, "color": colour}], _an(f"{colour} {name}")


def _pair(number: int, choices: Sequence[str]) -> tuple[str, str]:
    """Two different choices, in order; ``number`` is below n (n - 1)."""
    first, second = divmod(number, len(choices) - 1)
    return choices[first], choices[second + (second >= first)]


def _an(name: str) -> str:
    """The name after its article."""
    return f"an {name}" if name[0] in "aeiou" else f"a {name}"


def main() -> None:
    """Write the file named on the command line."""
    parser = argparse.ArgumentParser(description="Write training prompts in GenEval's format.")
    parser.add_argument("path", type=Path, metavar="OUT.jsonl")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--exclude",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="prompts to leave out, .jsonl or .txt, such as the test ones; may be repeated",
    )
    parser.add_argument("--tag", action="append", choices=TAGS, help="may be repeated; default all")
    options = parser.parse_args()
    try:
        write_prompts(
            options.path, options.count, options.seed, options.exclude, options.tag or TAGS
        )
    except (BadInputError, ValueError) as error:
        parser.error(str(error))


if __name__ == "__main__":
    main()
