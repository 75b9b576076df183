"""Golden images: text drawn by the fonts inside Pillow and OpenCV, and how well it is read.

``python -m marble_reward_ocr.golden`` prints the tables of the README; ``--save FOLDER`` keeps the
images. Nothing depends on the machine's own fonts.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from marble_reward_ocr.reader import ReaderSettings, TextReader
from marble_reward_ocr.similarity import exact, published

Mask = NDArray[np.uint8]
"""Ink, [h, w], 255 where there is some."""
Picture = NDArray[np.uint8]
"""[side, side, 3] RGB."""
Colour = tuple[int, int, int]

WORDS = (
    "OPEN",
    "coffee",
    "Exit 42",
    "Fresh Bread",
    "NO PARKING",
    "Happy Birthday",
    "Winter Sale",
    "Grand Hotel 1908",
    "jazz night",
    "Quiet Zone Please",
)
SCRIPTS = {
    "accents": ("Café Münster", "Señor Ibáñez", "Fjäll Ö", "Très Été"),
    "Chinese": ("你好世界", "营业中", "北京大学", "新年快乐"),
    "Japanese": ("こんにちは", "ラーメン", "ありがとう", "カフェ東京"),
    "Greek": ("ΑΘΗΝΑ", "καφές", "θάλασσα", "Δελφοί"),
    "Cyrillic": ("Привет", "Москва", "хлеб", "Выход"),
    "Korean": ("안녕하세요", "서울", "커피", "한국"),
}
_PAIRS: tuple[tuple[Colour, Colour], ...] = (
    ((20, 20, 20), (245, 245, 245)),
    ((250, 250, 250), (30, 60, 110)),
    ((200, 30, 40), (240, 230, 200)),
    ((255, 220, 60), (40, 40, 45)),
    ((30, 110, 60), (225, 235, 225)),
)
"""Ink and ground."""


def _pillow(text: str, size: int) -> Mask:
    font = ImageFont.load_default(size)
    left, top, right, bottom = ImageDraw.Draw(Image.new("L", (1, 1))).textbbox((0, 0), text, font)
    image = Image.new("L", (int(right - left) + 2, int(bottom - top) + 2))
    ImageDraw.Draw(image).text((1 - left, 1 - top), text, fill=255, font=font)
    return _trim(np.array(image))


def _opencv(name: str, weight: int) -> Callable[[str, int], Mask]:
    def write(text: str, size: int) -> Mask:
        canvas = np.zeros((3 * size, (len(text) + 2) * 2 * size), dtype=np.uint8)
        place, font = (size, 2 * size), cv2.FontFace(name)
        cv2.putText(canvas, text, place, (255, 255, 255), font, size, weight)
        return _trim(canvas)

    return write


TYPEFACES: dict[str, Callable[[str, int], Mask]] = {
    "Aileron": _pillow,
    "Rubik Light": _opencv("sans", 300),
    "Rubik": _opencv("sans", 400),
    "Rubik Black": _opencv("sans", 900),
    "Rubik Italic": _opencv("italic", 400),
    "WenQuanYi Micro Hei": _opencv("uni", 400),
}
"""Text and size in pixels -> ink."""


@dataclass(frozen=True)
class Drawing:
    """How a text is drawn."""

    lines: tuple[str, ...]
    typeface: str = "Rubik"
    side: int = 512
    """Of the square picture, in pixels."""
    size: int | None = None
    """Of the font, in pixels; None to fill four fifths of the width."""
    angle: float = 0.0
    """Degrees, counter-clockwise."""
    style: str = "plain"
    """``plain``, ``outline``, ``faint``, ``gradient`` or ``noise``."""
    palette: int = 0

    def draw(self) -> Picture:
        """The picture; the same on every call."""
        write = TYPEFACES[self.typeface]
        ink = _write_lines(self.lines, write, self.size or self._fitting_size(write))
        if self.style == "outline":
            ink = _outline(ink)
        if self.angle:
            rotated = Image.fromarray(ink).rotate(self.angle, Image.Resampling.BICUBIC, expand=True)
            ink = np.array(rotated)
        return _compose(ink, self.side, self.style, self.palette)

    def _fitting_size(self, write: Callable[[str, int], Mask]) -> int:
        height, width = _write_lines(self.lines, write, 100).shape
        room = 0.8 * self.side
        # A turned text must fit too: its diagonal bounds it.
        reach = float(np.hypot(height, width)) if self.angle else max(width, 2 * height)
        return max(int(100 * room / reach), 4)


@dataclass(frozen=True)
class Case:
    """One row of the table: drawings of one kind, each with the text that a prompt would quote."""

    group: str
    name: str
    drawings: tuple[tuple[Drawing, str], ...]


def cases() -> Iterator[Case]:
    """All rows, in the README's order."""
    for side in (512, 256, 128, 64, 32):
        drawn = [d for face in ("Rubik", "Aileron", "Rubik Black") for d in _each(face, side=side)]
        yield Case("side", f"{side} px", _aimed(drawn))
    for face in TYPEFACES:
        yield Case("typeface", face, _aimed(_each(face)))
    for size in (10, 14, 20, 32):
        yield Case("letters on 512", f"{size} px", _aimed(_each("Rubik", size=size)))
    for angle in (5, 15, 30, 45, 90, -90, 180):
        yield Case("turned", f"{angle}°", _aimed(_each("Rubik", angle=float(angle))))
    for style in ("outline", "faint", "gradient", "noise"):
        yield Case("style", style, _aimed(_each("Rubik", style=style)))
    yield Case("lines", "a word a line", _aimed([_split(d) for d in _each("Rubik")]))
    for script, texts in SCRIPTS.items():
        yield Case("script", script, _aimed(_each("WenQuanYi Micro Hei", texts)))
    yield Case("wrong", "a letter doubled", tuple((_stutter(d), t) for d, t in _aimed(_each())))
    yield Case("wrong", "no text", tuple((replace(d, lines=()), t) for d, t in _aimed(_each())))


def rate(case: Case, reader: TextReader) -> tuple[float, float]:
    """Share of images in which the text is read whole, and the mean published score."""
    texts = [("".join(reader.read(drawing.draw())), target) for drawing, target in case.drawings]
    return (
        float(np.mean([exact(target, text) for text, target in texts])),
        float(np.mean([published(target, text) for text, target in texts])),
    )


def seconds(reader: TextReader, side: int) -> float:
    """Median processor seconds that one image of that side takes."""
    times = []
    for drawing in _each("Rubik", side=side):
        picture, start = drawing.draw(), time.process_time()
        reader.read(picture)
        times.append(time.process_time() - start)
    return float(np.median(times))


def _each(
    typeface: str = "Rubik",
    texts: Sequence[str] = WORDS,
    *,
    side: int = 512,
    size: int | None = None,
    angle: float = 0.0,
    style: str = "plain",
) -> list[Drawing]:
    return [
        Drawing((text,), typeface, side, size, angle, style, index % len(_PAIRS))
        for index, text in enumerate(texts)
    ]


def _aimed(drawings: Sequence[Drawing]) -> tuple[tuple[Drawing, str], ...]:
    return tuple((drawing, " ".join(drawing.lines)) for drawing in drawings)


def _split(drawing: Drawing) -> Drawing:
    return replace(drawing, lines=tuple(drawing.lines[0].split()))


def _stutter(drawing: Drawing) -> Drawing:
    """The text with its second letter drawn twice."""
    (text,) = drawing.lines
    return replace(drawing, lines=(text[:2] + text[1:],))


def _write_lines(lines: Sequence[str], write: Callable[[str, int], Mask], size: int) -> Mask:
    """The lines' ink, centred under one another."""
    inks = [write(line, size) for line in lines] or [np.zeros((1, 1), dtype=np.uint8)]
    width, gap = max(ink.shape[1] for ink in inks), size // 2
    rows = [np.pad(ink, ((0, gap), _halves(width - ink.shape[1]))) for ink in inks]
    return np.concatenate(rows)[:-gap] if gap else np.concatenate(rows)


def _outline(ink: Mask) -> Mask:
    """The hollow letters' edges."""
    ink = np.pad(ink, 4)
    thick = np.ones((5, 5), dtype=np.uint8)
    return np.asarray(cv2.dilate(ink, thick) - cv2.erode(ink, np.ones((3, 3), np.uint8)), np.uint8)


def _compose(ink: Mask, side: int, style: str, palette: int) -> Picture:
    """Lay the ink on its ground, in the middle of the picture."""
    fore, ground = (np.array(colour, dtype=float) for colour in _PAIRS[palette])
    if style == "faint":
        fore = ground + 0.2 * (fore - ground)
    picture = np.broadcast_to(ground, (side, side, 3)).copy()
    rng = np.random.default_rng(palette)
    if style == "gradient":
        picture *= np.linspace(0.55, 1.1, side)[:, None, None]
    if style == "noise":
        picture += rng.normal(0, 30, picture.shape)
    ink = ink[:side, :side]
    top, left = (side - ink.shape[0]) // 2, (side - ink.shape[1]) // 2
    place = slice(top, top + ink.shape[0]), slice(left, left + ink.shape[1])
    share = ink[..., None] / 255
    picture[place] = share * fore + (1 - share) * picture[place]
    return np.clip(np.round(picture), 0, 255).astype(np.uint8)


def _trim(ink: Mask) -> Mask:
    rows, columns = np.flatnonzero(ink.any(axis=1)), np.flatnonzero(ink.any(axis=0))
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _halves(total: int) -> tuple[int, int]:
    return total // 2, total - total // 2


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description="How well the OCR reward reads golden images.")
    parser.add_argument("--save", type=Path, metavar="FOLDER", help="keep the images there")
    folder = parser.parse_args().save
    reader = TextReader(ReaderSettings())
    sys.stdout.write("| | | images | read whole | mean score |\n| --- | --- | --- | --- | --- |\n")
    for case in cases():
        whole, score = rate(case, reader)
        row = f"| {case.group} | {case.name} | {len(case.drawings)} | {whole:.0%} | {score:.3f} |\n"
        sys.stdout.write(row)
        if folder:
            _save(case, folder)
    sys.stdout.write("\n| side | images a second of one core |\n| --- | --- |\n")
    for side in (512, 256, 32):
        sys.stdout.write(f"| {side} px | {1 / seconds(reader, side):.1f} |\n")


def _save(case: Case, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for index, (drawing, _) in enumerate(case.drawings):
        stem = f"{case.group}-{case.name}-{index}".replace(" ", "-")
        Image.fromarray(drawing.draw()).save(folder / f"{stem}.png")


if __name__ == "__main__":
    main()
