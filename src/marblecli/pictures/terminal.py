"""Show a picture in a terminal: kitty's protocol, sixel (also iTerm2), or coloured half blocks.

``textual-image`` finds out what the terminal can do. It is an optional package (LGPL).
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from marblecli.errors import BadInputError

if TYPE_CHECKING:
    from PIL import Image
    from rich.console import Console


def check_terminal() -> None:
    """Raise BadInputError if the package that shows images isn't installed."""
    if find_spec("textual_image") is None:
        raise BadInputError(
            "images in the terminal need the package textual-image; install it with: "
            "pip install 'marblecli[show]', or leave out --show or eval.show_pictures"
        )


def show_image(picture: Image.Image, console: Console) -> None:
    """Print the picture over the console's width; nothing where the console is no terminal."""
    if not console.is_terminal:
        return
    # Imported here because it asks the terminal what it can do.
    from textual_image.renderable import Image as Shown

    console.print(Shown(picture, width=console.width, height="auto"))
