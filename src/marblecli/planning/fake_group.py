"""A process group of which only one process exists, so that sharded networks can run alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def fake_group(count: int) -> Iterator[None]:
    """Inside, this process is the first of ``count``, and what it sends goes nowhere.

    Collectives leave what they should have received as it is, which is no fault on fake tensors.
    A process group that exists already is put aside.
    """
    # Importing it makes torch know the backend "fake".
    from torch.distributed import distributed_c10d, init_process_group
    from torch.testing._internal.distributed.fake_pg import FakeStore

    own = distributed_c10d.GroupMember.WORLD
    # Not destroy_process_group: that would end every group of this process.
    distributed_c10d._update_default_pg(None)
    try:
        init_process_group("fake", store=FakeStore(), rank=0, world_size=count)
        yield
    finally:
        distributed_c10d._update_default_pg(own)
