"""What this package registers with marble: six rewards, quick to list."""

from __future__ import annotations

from typing import Literal

from marblecli.rewards import NoOptions, Prompt, Register, RewardSpec, Scorer, hookimpl


class ScoringOptions(NoOptions):
    """How a request is judged."""

    scoring: Literal["soft", "strict"] = "soft"
    """``soft`` gives part marks, which training needs; ``strict`` gives 1 only if all holds."""


@hookimpl
def marble_register_rewards(register: Register) -> None:
    """Register the six rewards."""
    for spec in (COLOUR, COMPOSITION, LETTERS, AESTHETIC, COMPRESSIBILITY, EVENNESS):
        register(spec)


# The scorers import scipy: only when a run needs them.


def _build_colour(_options: NoOptions, _device: str) -> Scorer:
    from marble_reward_shapes.colour import colour_match

    return lambda batch: colour_match(batch.images, batch.metadata)


def _build_composition(options: ScoringOptions, _device: str) -> Scorer:
    from marble_reward_shapes.composition import soft_composition, strict_composition

    judge = strict_composition if options.scoring == "strict" else soft_composition
    return lambda batch: judge(batch.images, batch.metadata)


def _build_letters(options: ScoringOptions, _device: str) -> Scorer:
    from marble_reward_shapes.letters import soft_letters, strict_letters

    judge = strict_letters if options.scoring == "strict" else soft_letters
    return lambda batch: judge(batch.images, batch.metadata)


def _build_aesthetic(_options: NoOptions, _device: str) -> Scorer:
    from marble_reward_shapes.aesthetic import aesthetic

    return lambda batch: aesthetic(batch.images)


def _build_compressibility(_options: NoOptions, _device: str) -> Scorer:
    from marble_reward_shapes.compressibility import compressibility

    return lambda batch: compressibility(batch.images)


def _build_evenness(_options: NoOptions, _device: str) -> Scorer:
    from marble_reward_shapes.evenness import evenness

    return lambda batch: evenness(batch.images)


_SCENE = Prompt(
    "a red square left of a blue triangle on black",
    "composition",
    {
        "background": "black",
        "colours": ["red", "blue"],
        "objects": [
            {"shape": "square", "colour": "red", "count": 1},
            {"shape": "triangle", "colour": "blue", "count": 1},
        ],
        "relation": "left of",
    },
)
_WORD = Prompt(
    'the text "HI" in red on white',
    "letters",
    {"background": "white", "colours": ["red"], "text": "HI"},
)

COLOUR = RewardSpec(
    name="shapes-colour",
    summary="The image keeps to the colours asked for and shows each of them.",
    build=_build_colour,
    metadata=("background", "colours"),
    examples=(_SCENE, _WORD),
)
COMPOSITION = RewardSpec(
    name="shapes-composition",
    summary="The objects asked for are there, as many, of that shape, where they should be.",
    build=_build_composition,
    options=ScoringOptions,
    metadata=("background", "objects", "relation"),
    examples=(_SCENE,),
)
LETTERS = RewardSpec(
    name="shapes-letters",
    summary="The two letters asked for can be read.",
    build=_build_letters,
    options=ScoringOptions,
    metadata=("background", "colours", "text"),
    examples=(_WORD,),
)
AESTHETIC = RewardSpec(
    name="shapes-aesthetic",
    summary="Colourfulness, contrast and balance.",
    build=_build_aesthetic,
)
COMPRESSIBILITY = RewardSpec(
    name="shapes-compressibility",
    summary="How few bytes a JPEG of the image takes.",
    build=_build_compressibility,
)
EVENNESS = RewardSpec(
    name="shapes-evenness",
    summary="The background is one plain colour, without stains, tints or halos.",
    build=_build_evenness,
)
