"""Marks the tests that compare bits, so that they can be run as on another processor."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from types import CodeType, FunctionType

import pytest

_COMPARES = re.compile(
    r"torch\.equal\(|array_equal\(|assert_array_equal\(|tobytes\(\)|read_bytes\(\)"
    r"|rtol=0\b|rel=1e-(?:9|1\d)|\.tolist\(\) == "
)
"""What a comparison of bits, or within a few roundings, looks like."""


def compares_bits(source: str) -> bool:
    """Whether a test's source compares bits, or values within a few roundings."""
    return _COMPARES.search(source) is not None


def sources_of(function: FunctionType, seen: set[FunctionType] | None = None) -> Iterator[str]:
    """The source of a test, and of the helpers of the tests that it names."""
    seen = {function} if seen is None else seen | {function}
    yield inspect.getsource(function)
    for name in sorted(_names(function.__code__)):
        helper = function.__globals__.get(name)
        if isinstance(helper, FunctionType) and helper not in seen and _of_the_tests(helper):
            seen.add(helper)
            yield from sources_of(helper, seen)


def _names(code: CodeType) -> set[str]:
    inner = [const for const in code.co_consts if isinstance(const, CodeType)]
    return set(code.co_names).union(*(_names(each) for each in inner))


def _of_the_tests(helper: FunctionType) -> bool:
    return helper.__module__.startswith("support.") or "/tests/" in helper.__code__.co_filename


def pytest_collection_modifyitems(items: Sequence[pytest.Item]) -> None:
    """Give the mark ``bits`` to every such test."""
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        function = inspect.unwrap(item.function)
        if any(map(compares_bits, sources_of(function))):
            item.add_marker(pytest.mark.bits)
