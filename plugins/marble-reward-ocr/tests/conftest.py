from __future__ import annotations

import pytest

from marble_reward_ocr.reader import ReaderSettings, TextReader


@pytest.fixture(scope="session")
def reader() -> TextReader:
    """The real engine with its real models; loading takes a second."""
    return TextReader(ReaderSettings())
