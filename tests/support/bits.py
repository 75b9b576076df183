"""Marks the tests that compare bits, so that they can be run as on another processor."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence

import pytest

_COMPARES = re.compile(
    r"torch\.equal\(|array_equal\(|assert_array_equal\(|tobytes\(\)|read_bytes\(\)"
    r"|rtol=0\b|rel=1e-(?:9|1\d)|\.tolist\(\) == "
)
"""What a comparison of bits, or within a few roundings, looks like."""


def compares_bits(source: str) -> bool:
    """Whether a test's source compares bits, or values within a few roundings."""
    return _COMPARES.search(source) is not None


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Give the mark ``bits`` to every such test."""
    for item in items:
        if isinstance(item, pytest.Function) and compares_bits(inspect.getsource(item.function)):
            item.add_marker(pytest.mark.bits)
