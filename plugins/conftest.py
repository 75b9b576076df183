"""What the tests of all packages here share with those of ``tests/``."""

from support.bits import pytest_collection_modifyitems

__all__ = ["pytest_collection_modifyitems"]
