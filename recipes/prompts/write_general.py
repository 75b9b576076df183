"""Write prompts for rewards that judge any image: subjects, what they do, where, and the style.

``python recipes/prompts/write_general.py OUT.txt --count 1000 --seed 0 --exclude TEST.txt`` writes
one prompt on each line, the themes in turn. No scene comes twice, in whatever style, and none that
a prompt of an excluded file shows. The same arguments always write the same file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from prompt_writing import in_turn, make_parser, pick, read_prompts, run_writer, with_article


@dataclass(frozen=True)
class Theme:
    """Subjects and what may follow them: each combination is a scene."""

    parts: tuple[tuple[str, ...], ...]
    """The subjects, and then what follows them, in the order of the words."""

    @property
    def size(self) -> int:
        """How many scenes there are."""
        return prod(len(part) for part in self.parts)

    def scene(self, number: int) -> str:
        """The scene of that number, below ``size``."""
        words = []
        for part in reversed(self.parts):
            number, place = divmod(number, len(part))
            words.append(part[place])
        return " ".join(reversed(words))


THEMES = (
    # Animals
    Theme(
        (
            (
                *("an old badger", "a barn owl", "a black cat", "two fox cubs", "a gray heron"),
                *("a hedgehog", "a brown bear", "a young deer", "a spotted hyena", "a red panda"),
                *("a pair of otters", "a raccoon", "a shaggy pony", "a snow leopard", "a toad"),
                *("a three-legged dog", "a tortoise", "a white goose", "a wild boar", "a lynx"),
                *("a chameleon", "a flock of sparrows", "a lone wolf", "a mountain goat"),
            ),
            (
                *("asleep", "drinking", "hiding", "looking up", "resting", "shaking off water"),
                *("sheltering", "waiting", "standing still"),
            ),
            (
                *("beside a frozen pond", "between tall ferns", "by a broken fence", "in a meadow"),
                *("in a field of poppies", "in the first snow", "on a mossy rock", "on a rooftop"),
                *("under a birch tree", "under a full moon", "near a waterfall", "in heavy rain"),
            ),
        )
    ),
    # People
    Theme(
        (
            (
                *("a beekeeper", "a blacksmith", "a boy in a yellow raincoat", "a cellist"),
                *("a diver in an old brass helmet", "a fisherman", "a girl with braided hair"),
                *("a lighthouse keeper", "a mechanic", "a mountain guide", "a nurse", "a potter"),
                *("a retired astronaut", "a shepherd", "a street musician", "a tailor"),
                *("a watchmaker", "an elderly couple", "an orchestra conductor", "two sisters"),
            ),
            (
                *("drinking tea", "laughing", "lost in thought", "reading a letter"),
                *("sharing an orange", "singing", "looking out to sea", "wrapped in a blanket"),
                *("holding a lantern", "with a bicycle"),
            ),
            (
                *("at a kitchen table", "at a bus stop", "in a greenhouse", "in a crowded market"),
                *("in a sunlit workshop", "on a balcony", "on a ferry", "on a stone bridge"),
                *("on the steps of a library", "under an umbrella", "beside a campfire"),
            ),
        )
    ),
    # Landscapes and buildings
    Theme(
        (
            (
                *("a bamboo forest", "a castle ruin", "a chapel on a hill", "a desert canyon"),
                *("a fishing village", "a glacier lagoon", "a harbor town", "a lavender field"),
                *("a lighthouse", "a mountain hut", "a mangrove swamp", "a row of canal houses"),
                *("a salt flat", "a stone farmhouse", "a suspension bridge", "a terraced hillside"),
                *("a treehouse village", "a volcanic island", "a walled city", "a windmill"),
                *("an abandoned railway station", "an olive grove", "an orchard", "a night market"),
            ),
            (
                *("after a storm", "at dawn", "at dusk", "in summer haze", "before the rain"),
                *("in autumn", "in deep snow", "in early spring", "in the blue hour"),
                *("on a hot afternoon", "under a starry sky", "under drifting clouds"),
            ),
            (
                *("seen from above", "seen through a window", "with a lone figure in front of it"),
                *("with a winding path", "with birds overhead", "with its mirror image in water"),
                *("with smoke on the horizon", "with wildflowers in the foreground"),
            ),
        )
    ),
    # Still lifes and food
    Theme(
        (
            (
                *("a basket of mushrooms", "a bowl of noodle soup", "a brass telescope"),
                *("a bunch of dried lavender", "a cracked teapot", "a half-peeled lemon"),
                *("a jar of buttons", "a loaf of rye bread", "a marble bust", "a mechanical clock"),
                *("a pair of muddy boots", "a plate of dumplings", "a pocket radio", "a seashell"),
                *("a slice of layer cake", "a stack of pancakes", "a string of pearls"),
                *("a typewriter", "a vase of peonies", "a violin", "an ornate key", "an oyster"),
            ),
            (
                *("on a weathered table", "on a velvet cushion", "on a marble counter"),
                *("on a pile of old maps", "on a windowsill", "on a wooden tray"),
                *("on wet sand", "on a bed of moss", "on crumpled paper", "on a checkered cloth"),
            ),
            (
                *("beside a glass of water", "beside a sleeping cat", "in candlelight"),
                *("in a patch of sun", "next to a fallen petal", "next to a silver spoon"),
                *("with a plain dark backdrop", "with dust in the air", "with a ribbon around it"),
            ),
        )
    ),
    # Vehicles and machines
    Theme(
        (
            (
                *("a cable car", "a delivery robot", "a double-decker bus", "a fire engine"),
                *("a freight train", "a hot-air balloon", "a hovering drone", "a motor scooter"),
                *("a paddle steamer", "a patched-up spaceship", "a racing yacht", "a seaplane"),
                *("a small submarine", "a solar-powered car", "a steam locomotive", "a tram"),
                *("a tractor", "a vintage convertible", "a wooden rowboat", "an airship"),
            ),
            (
                *("covered in ivy", "half buried in snow", "hung with lanterns", "in full motion"),
                *("in need of repair", "loaded with flowers", "painted bright orange"),
                *("with fogged windows", "with its lights on", "with peeling paint"),
            ),
            (
                *("above a sea of clouds", "among skyscrapers", "at the edge of a cliff"),
                *("in a canyon", "in a flooded street", "in a museum hall", "in a rice field"),
                *("in front of a pink sunset", "near a coral reef", "on the surface of Mars"),
            ),
        )
    ),
    # Things that don't exist
    Theme(
        (
            (
                *(
                    "a bear made of autumn leaves",
                    "a city inside a glass bottle",
                    "a clockwork owl",
                ),
                *("a crystal dragon", "a fox with a tail of flame", "a giant made of moss"),
                *("a jellyfish as large as a house", "a knight in coral armor", "a paper tiger"),
                *("a library with rivers for aisles", "a moon-faced puppet", "a porcelain whale"),
                *("a staircase of light", "a teacup with a storm in it", "a tree with glass fruit"),
                *("a turtle with a town on its back", "a wizard with a beard of smoke"),
                *("an army of snails", "an octopus in evening dress", "an origami swan"),
            ),
            (
                *("emerging from fog", "surrounded by fireflies", "dissolving into petals"),
                *("casting a long shadow", "guarded by cats", "floating", "glowing faintly"),
                *("trailing ribbons of color", "watched by children"),
            ),
            (
                *("above an empty square", "at the bottom of the sea", "in a ballroom"),
                *("in a desert of white sand", "in a forest of pillars", "in a subway car"),
                *("in the attic of an old house", "on a chessboard", "over a sleeping town"),
                *("under an aurora",),
            ),
        )
    ),
)
_STYLES = (
    *("35 mm film photograph", "art deco poster", "vintage photograph", "charcoal sketch"),
    *("children's book illustration", "claymation still", "colored pencil drawing"),
    *("detailed digital painting", "double exposure photograph", "engraving", "fresco"),
    *("gouache painting", "impressionist oil painting", "ink wash painting", "isometric render"),
    *("linocut print", "long-exposure photograph", "low-poly 3D render", "instant photograph"),
    *("minimalist line drawing", "mosaic", "paper cut-out", "pastel drawing", "pixel art scene"),
    *("professional photograph", "stained glass window", "surrealist painting", "tapestry"),
    *("watercolor", "wide-angle photograph", "woodblock print"),
)
_TOUCHES = (
    *("backlit", "cinematic lighting", "deep blue and gold tones", "dreamlike mood"),
    *("earthy colors", "harsh shadows", "high contrast", "highly detailed", "muted palette"),
    *("pastel colors", "quiet mood", "rich texture", "shallow depth of field", "soft light"),
    *("symmetrical composition", "vivid colors", "warm light"),
)


def draw_prompts(seed: int, excluded: Sequence[Path] = ()) -> Iterator[str]:
    """The themes in turn, their scenes in random order, until there are no more of any theme.

    Raises BadInputError if an excluded file can't be read.
    """
    told = "\n".join(prompt.text for prompt in read_prompts(excluded))
    rng = np.random.default_rng(seed)
    decks = [(one for one in _shuffled(theme, rng) if one not in told) for theme in THEMES]
    for scene in in_turn(decks):
        yield _in_style(scene, rng)


def _shuffled(theme: Theme, rng: np.random.Generator) -> Iterator[str]:
    return (theme.scene(int(number)) for number in rng.permutation(theme.size))


def _in_style(scene: str, rng: np.random.Generator) -> str:
    """One prompt in five is the scene alone, so that short ones are learned too."""
    style, touch = pick(_STYLES, rng), pick(_TOUCHES, rng)
    return pick(
        (
            scene,
            f"{scene}, {style}",
            f"{scene}, {style}, {touch}",
            f"{with_article(style)} of {scene}",
            f"{with_article(style)} of {scene}, {touch}",
        ),
        rng,
    )


def main() -> None:
    """Write the file that the command line names."""
    parser = make_parser("Write training prompts on any subject.", "OUT.txt", "scenes")
    run_writer(parser, lambda options: draw_prompts(options.seed, options.exclude))


if __name__ == "__main__":
    main()
