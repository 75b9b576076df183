"""The tests that compare bits pass with the kernels of other processors, too.

Libraries choose kernels by instruction set, and these variables restrict it. Within one setting the
same operation on the same shapes gives the same bits, and that is all that a test may ask for.
"""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from support.bits import compares_bits, sources_of

ROOT = Path(__file__).parents[1]
SETTINGS = {
    "no vectors in torch": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2 in torch": {"ATEN_CPU_CAPABILITY": "avx2"},
    "SSE4.1 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX2 in oneDNN": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX2 in MKL": {"MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    "any processor in MKL": {"MKL_CBWR": "COMPATIBLE"},
    "Haswell in OpenBLAS": {"OPENBLAS_CORETYPE": "Haswell"},
    "Nehalem in OpenBLAS": {"OPENBLAS_CORETYPE": "Nehalem"},
    "AVX2 everywhere": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
    },
    "the least everywhere": {
        "ATEN_CPU_CAPABILITY": "default",
        "ONEDNN_MAX_CPU_ISA": "SSE41",
        "MKL_CBWR": "COMPATIBLE",
        "OPENBLAS_CORETYPE": "Nehalem",
    },
}


def numpys_instructions() -> list[str]:
    """Those beyond its baseline that numpy has found here."""
    found: list[str] = np.show_config(mode="dicts")["SIMD Extensions"]["found"]
    return found


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS)
def test_bits_are_compared_only_where_they_are_the_same_everywhere(setting: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", **SETTINGS[setting]}
    if setting == "the least everywhere":
        environment["NPY_DISABLE_CPU_FEATURES"] = ",".join(numpys_instructions())
    command = ["-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
    chosen = ["-m", "bits and not gpu and not slow", "tests", "plugins"]
    done = subprocess.run(
        [sys.executable, *command, *chosen],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=3600,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("assert torch.equal(one, other)", True),
        ("assert np.array_equal(one, other)", True),
        ("assert_close(one, other, rtol=0, atol=1e-9)", True),
        ("assert value == pytest.approx(exact, rel=1e-12)", True),
        ("assert image.tobytes() in seen", True),
        ("assert value == pytest.approx(exact, rel=1e-3)", False),
        ("torch.testing.assert_close(one, other)", False),
    ],
)
def test_comparisons_of_bits_are_recognised(source: str, expected: bool) -> None:
    assert compares_bits(source) == expected


def helper(one: bytes, other: bytes) -> bool:
    return np.array_equal(np.frombuffer(one), np.frombuffer(other))


def calls_a_helper() -> None:
    assert all(helper(each, b"") for each in (b"",))


def test_comparisons_in_helpers_count() -> None:
    assert not compares_bits(inspect.getsource(calls_a_helper))
    assert any(map(compares_bits, sources_of(calls_a_helper)))


def test_tests_are_marked_by_what_they_compare(request: pytest.FixtureRequest) -> None:
    """This one's source has ``array_equal(`` in it, and so the mark."""
    assert request.node.get_closest_marker("bits") is not None
