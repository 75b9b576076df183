from __future__ import annotations

import zlib

import numpy as np
import torch

from marblecli.seeding import stream, torch_stream


def test_a_stream_depends_only_on_seed_purpose_and_indices() -> None:
    first = stream(7, "noise", 3, 1).random(4)
    stream(7, "noise", 3, 2).random(100)
    assert np.array_equal(stream(7, "noise", 3, 1).random(4), first)


def test_different_indices_have_different_streams() -> None:
    places = [
        (7, "noise", 3, 1),
        (8, "noise", 3, 1),
        (7, "prompts", 3, 1),
        (7, "noise", 1, 3),
        (7, "noise", 31),
        (7, "noise", 3),
        (7, "noise"),
    ]
    drawn = {float(stream(seed, purpose, *rest).random()) for seed, purpose, *rest in places}
    assert len(drawn) == len(places)
    states = {torch_stream(seed, purpose, *rest).initial_seed() for seed, purpose, *rest in places}
    assert len(states) == len(places)


def test_streams_are_the_same_in_every_process() -> None:
    """The purpose enters by its CRC and not by Python's hash, which differs between processes."""
    assert zlib.crc32(b"noise") == 0xFDA99629
    expected = np.random.default_rng([7, 0xFDA99629, 3]).random(3)
    assert np.array_equal(stream(7, "noise", 3).random(3), expected)


def test_torch_streams_are_reproducible() -> None:
    first, second = (torch.randn(5, generator=torch_stream(0, "rollout", 2)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch_stream(0, "rollout", 2).device.type == "cpu"


def test_global_random_states_are_not_changed() -> None:
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()  # noqa: NPY002
    stream(0, "a").random(3)
    torch.randn(3, generator=torch_stream(0, "a"))
    numpy_after = np.random.get_state()  # noqa: NPY002
    assert np.array_equal(numpy_after[1], numpy_before[1])
    assert numpy_after[2] == numpy_before[2]
    assert torch.equal(torch.get_rng_state(), torch_before)
