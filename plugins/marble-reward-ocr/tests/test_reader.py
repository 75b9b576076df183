from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from marble_reward_ocr.golden import Drawing
from marble_reward_ocr.reader import ReaderSettings, TextReader


@dataclass
class Seen:
    """Stands for the engine: keeps what it is shown and finds nothing."""

    images: list[np.ndarray] = field(default_factory=list)
    txts: None = None

    def __call__(self, image: np.ndarray) -> Seen:
        self.images.append(image)
        return self


@pytest.fixture
def seen(reader: TextReader, monkeypatch: pytest.MonkeyPatch) -> Seen:
    engine = Seen()
    monkeypatch.setattr(reader, "_engine", engine)
    return engine


def test_lines_come_from_top_to_bottom(reader: TextReader) -> None:
    assert reader.read(Drawing(("Grand", "Hotel", "1908"), side=256).draw()) == (
        "Grand",
        "Hotel",
        "1908",
    )


def test_an_image_without_text_has_no_lines(reader: TextReader) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    assert reader.read(np.zeros((256, 256, 3), dtype=np.uint8)) == ()
    assert reader.read(noise) == ()


def test_the_same_lines_on_every_call(reader: TextReader) -> None:
    first, other = Drawing(("Exit 42",), side=64).draw(), Drawing(("coffee",), side=128).draw()
    lines = reader.read(first)
    reader.read(other)
    assert reader.read(first) == lines


def test_the_image_is_left_as_it_was(reader: TextReader) -> None:
    image = Drawing(("OPEN",), side=64).draw()
    kept = image.copy()
    reader.read(image)
    assert np.array_equal(image, kept)


def test_the_engine_is_given_bgr(reader: TextReader, seen: Seen) -> None:
    image = np.zeros((256, 300, 3), dtype=np.uint8)
    image[..., 0] = 200
    assert reader.read(image) == ()
    assert seen.images[0].shape == (256, 300, 3)
    assert (seen.images[0] == (0, 0, 200)).all()


@pytest.mark.parametrize(
    ("shape", "shown"),
    [((32, 32), (256, 256)), ((64, 128), (128, 256)), ((256, 40), (256, 40)), ((300, 9), (300, 9))],
)
def test_small_images_are_enlarged(
    reader: TextReader, seen: Seen, shape: tuple[int, int], shown: tuple[int, int]
) -> None:
    reader.read(np.zeros((*shape, 3), dtype=np.uint8))
    assert seen.images[0].shape == (*shown, 3)


def test_an_engine_that_cannot_read_is_refused_at_once() -> None:
    """No line is as certain as that, so that nothing is ever read."""
    with pytest.raises(RuntimeError, match="where MARBLE is written"):
        TextReader(ReaderSettings(text_threshold=1.0))
