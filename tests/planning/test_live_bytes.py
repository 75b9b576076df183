from __future__ import annotations

import torch
from torch import UntypedStorage
from torch._subclasses.fake_tensor import FakeTensorMode

from marblecli.planning.live_bytes import LiveBytes

KIB = 1024


def test_what_is_alive_is_counted_once_and_forgotten_with_its_last_view() -> None:
    given = torch.zeros(10_000)
    with LiveBytes() as live:
        one = torch.zeros(KIB // 4)
        assert live.now == KIB
        view = one.view(2, -1)[0]
        given.add_(1.0)
        assert live.now == KIB
        two = one + 1
        assert live.now == 2 * KIB
        del one
        assert live.now == 2 * KIB
        del view
        assert live.now == KIB
        del two
    assert (live.now, live.peak) == (0, 2 * KIB)


def test_fake_tensors_count_as_real_ones_and_meta_tensors_dont() -> None:
    with FakeTensorMode(), LiveBytes() as live:
        one = torch.zeros(KIB // 4)
        two = one @ one
        assert live.now == KIB + two.nbytes
    with LiveBytes() as live:
        torch.zeros(KIB, device="meta")
    assert live.peak == 0


def test_a_storage_that_is_emptied_gives_its_memory_back() -> None:
    resize = UntypedStorage.resize_
    with LiveBytes() as live:
        one = torch.zeros(KIB // 4)
        one.untyped_storage().resize_(0)
        assert live.now == 0
        one.untyped_storage().resize_(2 * KIB)
        assert live.now == 2 * KIB
    assert UntypedStorage.resize_ is resize
