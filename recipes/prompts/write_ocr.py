"""Write training prompts that quote a short text.

``python recipes/prompts/write_ocr.py OUT.jsonl --count 1000 --seed 0 --exclude TEST.txt`` writes
one prompt with its ``target_text`` on each line, the kinds of text in turn. No text comes twice,
whatever its case and spaces, and none that a prompt of an excluded file asks for. The same
arguments always write the same file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from marble_reward_ocr.similarity import normalise
from marble_reward_ocr.target import target_text
from prompt_writing import in_turn, make_parser, pick, read_prompts, run_writer

Line = dict[str, str]
"""The prompt and its metadata, as one JSON line has them."""


@dataclass(frozen=True)
class Kind:
    """Texts of one sort, and what they may be written on."""

    texts: tuple[str, ...]
    carriers: Mapping[str, tuple[str, ...]]
    """What leads up to the quoted text, and places where that may be."""


_NAMES = (
    *("Abel", "Amara", "Bruno", "Celia", "Clara", "Dario", "Edith", "Elias", "Esme", "Felix"),
    *("Freya", "Greta", "Hugo", "Ingrid", "Iris", "Jonas", "Kira", "Leo", "Lina", "Mabel"),
    *("Marco", "Mira", "Nadia", "Noah", "Olive", "Oscar", "Petra", "Quinn", "Rosa", "Ruben"),
    *("Sami", "Selma", "Theo", "Uma", "Vera", "Walter", "Yara", "Zoe"),
)
_FIRST = (
    *("Acorn", "Anchor", "Birch", "Bluebell", "Cedar", "Clover", "Copper", "Corner", "Ember"),
    *("Fern", "Foxglove", "Granite", "Harbor", "Hazel", "Heron", "Ivy", "Juniper", "Kettle"),
    *("Lantern", "Linden", "Maple", "Meadow", "Moss", "Nettle", "North", "Otter", "Pebble"),
    *("Quarry", "Raven", "River", "Saffron", "Silver", "Sparrow", "Thistle", "Tulip", "Willow"),
)
_TRADES = (
    *("Bakery", "Barbers", "Books", "Bikes", "Cafe", "Ceramics", "Chocolate", "Cinema", "Clinic"),
    *("Coffee", "Deli", "Flowers", "Garage", "Hotel", "Kitchen", "Laundry", "Market", "Music"),
    *("Noodles", "Optics", "Paints", "Pharmacy", "Pizza", "Records", "School", "Shoes", "Tailors"),
    *("Tea Room", "Theater", "Toys", "Vintage", "Yoga"),
)
_TITLE_WORDS = (
    *("Borrowed", "Broken", "Burning", "Crystal", "Distant", "Drowned", "Electric", "Empty"),
    *("Forgotten", "Frozen", "Gentle", "Glass", "Golden", "Hidden", "Hollow", "Hungry", "Last"),
    *("Lonely", "Midnight", "Paper", "Patient", "Quiet", "Restless", "Scarlet", "Second"),
    *("Secret", "Seventh", "Silent", "Sleeping", "Tangled", "Velvet", "Wandering", "Winter"),
)
_TITLE_NOUNS = (
    *("Archive", "Astronaut", "Bridge", "Carnival", "Comet", "Compass", "Detective", "Dragon"),
    *("Echo", "Empire", "Engine", "Forest", "Garden", "Giant", "Harvest", "Horizon", "Island"),
    *("Journey", "Kingdom", "Lighthouse", "Machine", "Mirror", "Mountain", "Ocean", "Orchard"),
    *("Planet", "Prophet", "Queen", "Robot", "Sailor", "Shadow", "Signal", "Station", "Storm"),
    *("Summer", "Tiger", "Tower", "Visitor", "Voyage", "Whisper"),
)
_GOODS_WORDS = (
    *("Alpine", "Coastal", "Country", "Crisp", "Dark", "Double", "Fresh", "Golden", "Homemade"),
    *("Hot", "Island", "Lucky", "Morning", "Mountain", "Organic", "Pure", "Royal", "Slow"),
    *("Smoked", "Sunny", "Sweet", "Tangy", "Valley", "Wild"),
)
_GOODS = (
    *("Almonds", "Apples", "Cheese", "Cherries", "Cider", "Cocoa", "Cola", "Cookies", "Crackers"),
    *("Ginger", "Granola", "Honey", "Jam", "Juice", "Lemonade", "Mustard", "Oats", "Olive Oil"),
    *("Paprika", "Peaches", "Pickles", "Popcorn", "Raisins", "Salsa", "Soap", "Tea", "Tonic"),
    *("Vanilla", "Vinegar", "Yogurt"),
)
_FORBIDDEN = (
    *("Bicycles", "Camping", "Cooking", "Dancing", "Diving", "Dogs", "Drones", "Entry", "Exit"),
    *("Fires", "Fishing", "Food", "Hunting", "Jumping", "Littering", "Parking", "Phones"),
    *("Pictures", "Running", "Shouting", "Skating", "Smoking", "Stopping", "Swimming", "Trucks"),
    *("Turns", "Visitors", "Waiting", "Whistling"),
)
_REQUESTS = (
    *("Be Kind", "Close the Gate", "Dim the Lights", "Drive Slowly", "Hold the Rail"),
    *("Keep Left", "Keep Off the Grass", "Keep Quiet", "Keep This Door Shut", "Knock Twice"),
    *("Leave Your Boots Here", "Lock Your Bike", "Look Both Ways", "Mind the Step"),
    *("Mind Your Head", "Push the Button", "Queue Here", "Recycle Paper", "Return Your Tray"),
    *("Ring the Bell", "Save Water", "Stand Back", "Take a Number", "Take One", "Turn Around"),
    *("Use the Side Door", "Wait Your Turn", "Walk Slowly", "Wash Your Hands", "Watch the Ice"),
)
_DANGERS = (
    *("Avalanches", "Bears", "Bees", "Bulls", "Deep Water", "Ducks", "Falling Rocks", "Geese"),
    *("Ghosts", "High Tides", "Horses", "Hot Steam", "Low Branches", "Moose", "Owls", "Seals"),
    *("Sharks", "Slippery Stairs", "Snakes", "Strong Currents", "Swans", "Thin Ice", "Toads"),
    *("Trains", "Turtles", "Wet Paint", "Wild Boars", "Wolves"),
)
_WISHES = (
    *("Bon Voyage", "Congratulations", "Good Luck", "Happy Birthday", "Sweet Dreams", "Thank You"),
    *("Welcome Home", "Well Done"),
)
_PASTIMES = (
    *("Baking", "Biking", "Birding", "Camping", "Chess", "Climbing", "Coding", "Dancing"),
    *("Drawing", "Fishing", "Gardening", "Hiking", "Jazz", "Karate", "Knitting", "Painting"),
    *("Poetry", "Reading", "Rowing", "Running", "Sailing", "Singing", "Skating", "Surfing"),
    *("Tennis", "Weaving", "Yodeling"),
)


def _pairs(first: Sequence[str], second: Sequence[str]) -> tuple[str, ...]:
    return tuple(f"{one} {other}" for one, other in itertools.product(first, second))


def _numbered(words: Sequence[str], numbers: range) -> tuple[str, ...]:
    return _pairs(words, [str(number) for number in numbers])


KINDS = (
    Kind(
        _pairs(_FIRST, _TRADES),
        {
            "a hand-painted shop sign that reads": ("over a green door", "on a cobbled street"),
            "a neon sign spelling": ("above a wet street at night", "in a dark window"),
            "a striped awning with the name": ("on a sunny square", "over a row of cafe tables"),
            "a wooden signboard lettered": ("hanging from an iron bracket", "in a snowy village"),
            "gold lettering that says": ("on a shop window", "on a black shopfront"),
            "a delivery van with the name": ("parked by the curb", "in slow city traffic"),
            "a paper bag printed with": ("on a park bench", "on a shop counter"),
        },
    ),
    Kind(
        tuple(f"The {title}" for title in _pairs(_TITLE_WORDS, _TITLE_NOUNS)),
        {
            "a movie poster with the title": ("on a brick wall", "in a lit glass case"),
            "an old paperback titled": ("on a cluttered desk", "in a box at a flea market"),
            "a leather-bound book titled": ("on a lectern", "beside a burning candle"),
            "a record sleeve titled": ("leaning against a turntable", "on a patterned rug"),
            "a comic book cover titled": ("in a shop rack", "on a bedroom floor"),
            "a theater marquee announcing": ("over a crowd in the rain", "at dusk"),
            "the title card of a silent film, reading": ("in a dark cinema", "on a torn screen"),
        },
    ),
    Kind(
        _pairs(_GOODS_WORDS, _GOODS),
        {
            "a glass jar with a label that says": ("on a kitchen shelf", "on a linen tablecloth"),
            "a tin can labeled": ("on a supermarket shelf", "on a camp stove"),
            "a cardboard box printed with": ("on a conveyor belt", "on a doorstep"),
            "a wooden crate stenciled with": ("in a farm shop", "on the back of a truck"),
            "a chalkboard offering": ("outside a market stall", "behind a counter"),
            "an old advertisement for": ("on a yellowed page", "painted on a barn"),
            "a bottle with a label that reads": ("in an ice bucket", "on a windowsill"),
        },
    ),
    Kind(
        (
            *(f"No {word}" for word in _FORBIDDEN),
            *_REQUESTS,
            *(f"Please {request}" for request in _REQUESTS),
            *(f"Beware of {danger}" for danger in _DANGERS),
            *(f"Danger {danger}" for danger in _DANGERS),
        ),
        {
            "a yellow warning sign that says": ("beside a gravel path", "on a chain-link fence"),
            "a handwritten note saying": ("taped to a door", "stuck to a mirror"),
            "an enamel plate with the words": ("on a tiled wall", "on an old gate"),
            "a carved board that reads": ("at the edge of a forest", "on a wooden post"),
            "a metal sign reading": ("on a lake shore", "on a stone wall"),
            "a folding sign that says": ("in a long corridor", "on a wet floor"),
        },
    ),
    Kind(
        _pairs(_WISHES, _NAMES),
        {
            "a cake with icing that spells": ("on a silver tray", "lit by candles"),
            "a banner that reads": ("across a living room", "between two apple trees"),
            "a greeting card with the words": ("beside a bunch of tulips", "in an open hand"),
            "balloons printed with": ("against a blue sky", "over a dinner table"),
            "a large cookie iced with": ("on a checkered napkin", "in a bakery box"),
            "letters in the sand that say": ("on an empty beach", "at the water's edge"),
            "a chalk drawing with the words": ("on the pavement", "on a school blackboard"),
        },
    ),
    Kind(
        (
            *_numbered(("Exit", "Gate", "Platform", "Track"), range(2, 30)),
            *_numbered(("Bus", "Room", "Route"), range(31, 99)),
            *_pairs(_FIRST, ("Street", "Lane", "Square")),
        ),
        {
            "an illuminated sign that says": ("in a crowded station", "over an escalator"),
            "a brass plate engraved with": ("beside a doorbell", "on a marble wall"),
            "a blue enamel sign reading": ("on the corner of a building", "on a lamppost"),
            "a stencil that reads": ("on a concrete wall", "on a steel door"),
            "an arrow-shaped sign pointing to": ("on a foggy morning", "at the end of a hallway"),
            "a departure board showing": ("in an empty hall", "above a waiting crowd"),
        },
    ),
    Kind(
        (
            *(f"Born for {pastime}" for pastime in _PASTIMES),
            *(f"I Love {pastime}" for pastime in _PASTIMES),
            *(f"{pastime} All Day" for pastime in _PASTIMES),
            *(f"{pastime} Club" for pastime in _PASTIMES),
            *(f"Less Work More {pastime}" for pastime in _PASTIMES),
            *(f"World {pastime} Day" for pastime in _PASTIMES),
        ),
        {
            "a person in a T-shirt that says": ("in a city park", "on a train"),
            "a coffee mug printed with": ("on a wooden table", "next to a laptop"),
            "a tote bag with the slogan": ("on a coat hook", "in a bicycle basket"),
            "a baseball cap embroidered with": ("on a fence post", "on a smiling child"),
            "graffiti that says": ("on an underpass wall", "on a rusty freight car"),
            "a round badge with the words": ("on a denim jacket", "in the palm of a hand"),
            "a knitted scarf with the words": ("around a snowman", "in a shop display"),
        },
    ),
)
_LOOKS = (
    *("a photograph of", "a close-up of", "a vintage photo of", "a flat illustration of"),
    *("a watercolor painting of", "a detailed digital painting of", "a 3D render of"),
)
_LIGHTS = (
    *("soft morning light", "warm evening light", "overcast sky", "harsh midday sun"),
    *("light mist", "deep shadows", "shallow depth of field", "muted colors", "vivid colors"),
)


def draw_prompts(seed: int, excluded: Sequence[Path] = ()) -> Iterator[Line]:
    """The kinds in turn, their texts in random order, until there are no more of any kind.

    Raises BadInputError if an excluded file can't be read.
    """
    seen = _read_excluded(excluded)
    rng = np.random.default_rng(seed)
    decks = [_new(kind, _shuffled(kind.texts, rng), seen) for kind in KINDS]
    for kind, text in in_turn(decks):
        seen.add(normalise(text))
        yield {"prompt": _write(text, kind, rng), "target_text": text}


def _read_excluded(paths: Sequence[Path]) -> set[str]:
    """The texts that the prompts ask for; other prompts don't matter."""
    texts = (target_text(prompt.text, prompt.metadata) for prompt in read_prompts(paths))
    return {normalise(text) for text in texts if text is not None}


def _shuffled(texts: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    return (texts[place] for place in rng.permutation(len(texts)))


def _new(kind: Kind, texts: Iterable[str], seen: set[str]) -> Iterator[tuple[Kind, str]]:
    """The texts that aren't in ``seen`` when their turn comes."""
    return ((kind, text) for text in texts if normalise(text) not in seen)


def _write(text: str, kind: Kind, rng: np.random.Generator) -> str:
    carrier = pick(tuple(kind.carriers), rng)
    written, place = f'{carrier} "{text}"', pick(kind.carriers[carrier], rng)
    return pick(
        (
            f"{written} {place}",
            f"{place}, {written}",
            f"{written} {place}, {pick(_LIGHTS, rng)}",
            f"{pick(_LOOKS, rng)} {written}",
            f"{pick(_LOOKS, rng)} {written} {place}",
            f"{pick(_LOOKS, rng)} {written} {place}, {pick(_LIGHTS, rng)}",
        ),
        rng,
    )


def main() -> None:
    """Write the file that the command line names."""
    parser = make_parser("Write training prompts that quote a text.", "OUT.jsonl", "texts")
    run_writer(parser, lambda options: map(json.dumps, draw_prompts(options.seed, options.exclude)))


if __name__ == "__main__":
    main()
